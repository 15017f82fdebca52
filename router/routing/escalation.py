"""Which share of the scored requests goes to the stronger lanes.

An escalation level is a stronger lane and the share of scored requests meant for it.
Three things hold the shares, in one ingress replica, without waiting for another:

1. **Threshold.** The score that the wanted share of recent scores reaches
   (`quantile`). No tenant can move it much: a tenant's scores weigh at
   most max(2 %, 2 / active tenants) of the traffic, and what a tenant sends over
   the threshold counts less the further it is out of line. A tenant is *out of
   line* when its rate over the threshold passes L, twice the larger of its budget
   and the median tenant's rate; a rate r > L counts as L/2 * (1 + L/r): L at the
   edge, and little more than the budget for a tenant that only sends hard ones.
   The median is there for a change of every tenant's mix: then none is out of line.
2. **Feedback.** `slack` is how many escalations the level is behind its share
   (negative: ahead). It bends the share that the threshold is for at once, and
   drives a slow gain on top. The share is raised only when requests over the
   threshold are too few, not when they come and budgets (or a yielding lane)
   refuse them: no wind-up. Tenants out of line are left out, so that what they
   take does not push the others down; their budgets hold them.
3. **Budgets.** Every escalation is paid from the tenant's buckets (`budget`), so that
   any 1,000 consecutive scored requests of a tenant send up at most twice its budget.

A tenant with no budget on any level counts in nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, islice
from statistics import median_low
from typing import Any

from router.routing.budget import Account, Limits, limits_of
from router.routing.levels import NO_BAND, Band, LevelView, band_around, doubt_around
from router.routing.pressure import GAIN_MAX, ShareFeedback
from router.routing.quantile import (
    QuantileConfig,
    QuantileWindow,
    RecentTraffic,
    Shipped,
    Tail,
    rein_in,
)

# A rate of 3 % has a standard deviation of 0.85 % over 200 requests: its double is
# passed by chance once in thousands, and by a flood after 7 requests.
RATE_REQUESTS = 200

# Tenants looked at for the median rate: the last seen, one entry each.
MEDIAN_TENANTS = 64

# The share realised is not alarming while it rests on a few requests.
ALARM_MIN_REQUESTS = 500

TENANT_WEIGHT = 0.02  # share of the traffic that one tenant always counts with


@dataclass(frozen=True, slots=True)
class EscalationLevel:
    """A stronger lane; an alarm rises over `alarm_over` and clears under `alarm_under`."""

    lane: str
    share: float
    alarm_over: float = 0.05
    alarm_under: float = 0.04


@dataclass(frozen=True, slots=True)
class EscalationConfig:
    """What one ingress replica keeps to.

    So many ingress `replicas` divide the hard buckets. `tenants` are remembered, about 1 kB each.
    `explored`: width of the band around each threshold in which requests are explored; 0: none is.
    """

    replicas: int = 1
    tenants: int = 2000
    explored: float = 0.0
    quantile: QuantileConfig = field(default_factory=QuantileConfig)


class _LevelState:
    """What changes of one level."""

    def __init__(self, level: EscalationLevel) -> None:
        self.level = level
        self.feedback = ShareFeedback(level.share)
        self.median_rate = 0.0
        self.yielding = 0.0
        self.alarm = False

    def edge(self, budget: float) -> float:
        """Return the rate over the threshold from which a tenant is out of line.

        `budget` is the tenant's for this level and all stronger ones.
        """
        median = self.median_rate
        return 2 * (budget if budget >= median else median)


class EscalationController:
    """The shares of all levels, strongest first, in one ingress replica.

    The `shipped` quantiles are used until traffic was seen. The export of `replica`, this one,
    is not merged back. `accounts` are of the tenants seen last, the latest at the end.
    """

    def __init__(
        self,
        levels: Sequence[EscalationLevel],
        shipped: Shipped,
        config: EscalationConfig = EscalationConfig(),
        *,
        replica: str = "",
    ) -> None:
        self._config, self._replica = config, replica
        highest = min(1.0, GAIN_MAX * sum(level.share for level in levels) + config.explored)
        quantile = config.quantile
        quantile = replace(quantile, tail_share=max(quantile.tail_share, highest))
        self.window = QuantileWindow(shipped, quantile)
        self._recent = RecentTraffic(quantile.window)
        # By peer: when it came, the top of its scores, and its requests by lane.
        self._peers: dict[str, tuple[float, Tail, dict[str | None, int]]] = {}
        self._levels = [_LevelState(level) for level in levels]
        self._defaults = [limits_of(level.share, config.replicas) for level in levels]
        self.accounts: OrderedDict[str, list[Account]] = OrderedDict()
        self._forgot = False
        self._until_refresh = quantile.refresh_every

    def set_yield(self, lane: str, fraction: float) -> None:
        """Keep only the top `1 - fraction` of the share for `lane` (`router.routing.pressure`)."""
        for state in self._levels:
            if state.level.lane == lane:
                state.yielding = fraction

    def view(self, tenant: str, budgets: Mapping[str, float]) -> dict[str, LevelView]:
        """Return what holds for the tenant's next scored request, by lane, strongest first.

        `budgets` has the share of its scored requests that may go to a lane: 0 means never,
        and a lane that is not named has the level's share.
        """
        limits = self._limits(budgets)
        accounts = self.accounts.get(tenant) or self._newcomer(limits)
        views, upto, budget = {}, 0.0, 0.0
        width = self._config.explored
        for state, account, limit in zip(self._levels, accounts, limits, strict=True):
            budget += limit.budget
            edge = state.edge(budget)
            above, upto = upto, upto + state.feedback.wanted_share
            threshold = self.window.threshold(upto)
            kept = above + (upto - above) * (1 - state.yielding) if state.yielding < 1 else 0.0
            affordable = account.hard_level(limit) >= 1
            lent = state.feedback.slack >= 1 and account.rate <= edge
            views[state.level.lane] = LevelView(
                threshold,
                threshold if kept == upto else self.window.threshold(kept),
                affordable and (lent or account.own_level(limit) >= 1),
                affordable,
                account.adoption >= 1,
                band_around(self.window, upto, width) if width else NO_BAND,
            )
        return views

    def band(self, threshold: float) -> Band:
        """Return the scores near a threshold that is not the traffic's own."""
        width = self._config.explored
        return band_around(self.window, self.window.share(threshold), width) if width else NO_BAND

    def doubts(self) -> dict[str, Band]:
        """Return by lane the scores so near its threshold that better ones may be worth it."""
        shares = accumulate(state.feedback.wanted_share for state in self._levels)
        lanes = [state.level.lane for state in self._levels]
        return {x: doubt_around(self.window, y) for x, y in zip(lanes, shares, strict=True)}

    def note(
        self,
        tenant: str,
        budgets: Mapping[str, float],
        score: float,
        lane: str | None,
        *,
        sticky: bool,
        now: float,
        explored: bool = False,
    ) -> None:
        """Count one scored request, once, after its decision.

        `lane` is where it was escalated to: None, or the lane of no level, if it was not.
        `sticky`: an earlier turn of its conversation had been escalated.
        `explored`: chance, not its score, has sent it to the lane where it is.
        """
        limits = self._limits(budgets)
        share = budget = 0.0
        thresholds, edges = [], []
        for state, limit in zip(self._levels, limits, strict=True):
            share += state.feedback.wanted_share
            thresholds.append(self.window.threshold(share))
            budget += limit.budget
            edges.append(state.edge(budget))
        if not budget:
            return
        accounts = self._account(tenant, limits)
        reached = sum([score < threshold for threshold in thresholds])
        weight = self._recent.weight(tenant, TENANT_WEIGHT)
        if reached == len(accounts):
            self.window.add(score, weight)
        else:
            over = range(reached, len(accounts))
            reins = [(thresholds[index], accounts[index].rate, edges[index]) for index in over]
            for at, part in rein_in(score, reins):
                self.window.add(at, weight * part)
        # Fill and charge the buckets, and tell the feedback.
        together = zip(self._levels, accounts, limits, edges, strict=True)
        for index, (state, account, limit, edge) in enumerate(together):
            escalated = lane == state.level.lane
            account.earn(limit)
            if escalated:
                account.pay(limit, sticky=sticky)
            account.rate += ((index >= reached) - account.rate) / RATE_REQUESTS
            if limit.budget and account.rate <= edge:
                # What chance keeps down was not wanted, or the share would be missed by it.
                wanted = escalated if explored else index == reached
                state.feedback.count(wanted=wanted, escalated=escalated)
        self._recent.add(tenant, lane)
        self._until_refresh -= 1
        if self._until_refresh <= 0:
            self._refresh(now)

    def adopt(self, tenant: str, budgets: Mapping[str, float], lane: str) -> None:
        """Pay for a turn that went up to a level's `lane` elsewhere, in whose share it counted."""
        accounts = self._account(tenant, self._limits(budgets))
        for state, account in zip(self._levels, accounts, strict=True):
            if state.level.lane == lane:
                account.adopt()

    def share(self, *, now: float) -> dict[str, float]:
        """Return what went up per lane, of the last `window` scored requests here and at peers.

        Fewer than 500 requests count as 500.
        """
        counts = [self._recent.lanes, *(peer[2] for peer in self._live_peers(now))]
        scored = max(ALARM_MIN_REQUESTS, sum(sum(part.values()) for part in counts))
        lanes = [state.level.lane for state in self._levels]
        return {lane: sum(part.get(lane, 0) for part in counts) / scored for lane in lanes}

    @property
    def alarm(self) -> bool:
        """Whether more goes up than any level's alarm share; as of the last refresh."""
        return any(state.alarm for state in self._levels)

    def export(self) -> dict[str, Any]:
        """Return this replica's own part, for the others' `merge`: numbers, strings, lists."""
        tail = self.window.tail.to_plain()
        return {"scored": len(self._recent), "lanes": self._own(), "tail": tail}

    def merge(self, peer: str, exported: dict[str, Any], *, now: float) -> None:
        """Replace what is known of a peer; ValueError when it cannot be read."""
        if peer == self._replica:
            return
        try:
            tail = Tail.from_plain(exported["tail"])
            lanes: dict[str | None, int] = {str(k): int(v) for k, v in exported["lanes"].items()}
            scored = int(exported["scored"])
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"no export of a replica: {error!r}") from error
        self._hear(peer, tail, lanes, scored, now)

    def merge_own(self, other: EscalationController, *, now: float) -> None:
        """Take in what another replica of this process knows, as `merge` would its export."""
        if other is not self:
            exported = other._own()
            self._hear(other._replica, other.window.tail, exported, len(other._recent), now)

    def _own(self) -> dict[str | None, int]:
        return {state.level.lane: self._recent.lanes[state.level.lane] for state in self._levels}

    def _hear(
        self, peer: str, tail: Tail, lanes: dict[str | None, int], scored: int, now: float
    ) -> None:
        self._peers[peer] = now, tail, {**lanes, None: scored - sum(lanes.values())}

    def _live_peers(self, now: float) -> list[tuple[float, Tail, dict[str | None, int]]]:
        """Forget peers that were silent for `peer_ttl_s`; return what the others sent last."""
        ttl_s = self._config.quantile.peer_ttl_s
        self._peers = {peer: part for peer, part in self._peers.items() if now - part[0] <= ttl_s}
        return list(self._peers.values())

    def _limits(self, budgets: Mapping[str, float]) -> list[Limits]:
        if not budgets:
            return self._defaults
        levels, replicas = [state.level for state in self._levels], self._config.replicas
        return [limits_of(budgets.get(level.lane, level.share), replicas) for level in levels]

    def _account(self, tenant: str, limits: Sequence[Limits]) -> list[Account]:
        accounts = self.accounts.get(tenant)
        if accounts is not None:
            self.accounts.move_to_end(tenant)
            return accounts
        accounts = self.accounts[tenant] = self._newcomer(limits)
        if len(self.accounts) > self._config.tenants:
            self.accounts.popitem(last=False)
            self._forgot = True
        return accounts

    def _newcomer(self, limits: Sequence[Limits]) -> list[Account]:
        rates = accumulate(limit.budget for limit in limits)
        return [
            limit.newcomer(rate, is_known=not self._forgot)
            for limit, rate in zip(limits, rates, strict=True)
        ]

    def _refresh(self, now: float) -> None:
        requests = self._config.quantile.refresh_every
        self._until_refresh = requests
        self.window.refresh([tail for _, tail, _ in self._live_peers(now)])
        last = list(islice(reversed(self.accounts.values()), MEDIAN_TENANTS))
        share = self.share(now=now)
        for index, state in enumerate(self._levels):
            level = state.level
            state.median_rate = median_low(accounts[index].rate for accounts in last)
            state.feedback.integrate(requests)
            alarming = level.alarm_under if state.alarm else level.alarm_over
            state.alarm = share[level.lane] > alarming
