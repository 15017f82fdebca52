"""Which share of the scored requests goes to the stronger lanes.

A rung is a stronger lane and the share of scored requests meant for it. Four
things hold the shares, in one ingress replica, without waiting for another:

1. **Threshold.** The score that the wanted share of recent scores reaches
   (`quantile`). No tenant can move it much: a tenant's scores weigh at
   most max(2 %, 2 / active tenants) of the traffic, and what a tenant sends over
   the threshold counts less the further it is out of line. A tenant is *out of
   line* when its rate over the threshold passes L, twice the larger of its budget
   and the median tenant's rate; a rate r > L counts as L/2 * (1 + L/r): L at the
   edge, and little more than the budget for a tenant that only sends hard ones.
   The median is there for a change of everybody's mix: then nobody is out of line.
2. **Feedback.** `slack` is how many escalations the rung is behind its share
   (negative: ahead). It bends the share that the threshold is for at once, and
   drives a slow gain on top. The share is raised only when requests over the
   threshold are too few, not when they come and budgets (or a yielding lane)
   refuse them: no wind-up. Tenants out of line are left out, so that what they
   take does not push the others down; their budgets hold them.
3. **Budgets.** Every escalation is paid from the tenant's buckets (`budget`), so that
   any 1,000 consecutive scored requests of a tenant send up at most twice its budget.

A tenant with no budget on any rung counts in nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, islice
from statistics import median_low
from typing import Any

from router.routing.budget import Account, Limits, limits_of
from router.routing.pressure import ShareFeedback
from router.routing.quantile import (
    PeerParts,
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


@dataclass(frozen=True, slots=True)
class Rung:
    """A stronger lane; an alarm rises over `alarm_over` and clears under `alarm_under`."""

    lane: str
    share: float
    alarm_over: float = 0.05
    alarm_under: float = 0.04

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError("share must lie in (0, 1)")
        if not 0 < self.alarm_under <= self.alarm_over:
            raise ValueError("alarm_under must be positive and not exceed alarm_over")


@dataclass(frozen=True, slots=True)
class EscalationConfig:
    """What one ingress replica keeps to.

    Attributes:
        replicas: ingress replicas that divide the hard buckets.
        tenants: tenants remembered, about 1 kB each.
        tenant_weight: share of the traffic that one tenant always counts with.
        gain_min: least factor on a rung's share.
        gain_max: greatest factor on a rung's share.
        quantile: the window of scores.

    """

    replicas: int = 1
    tenants: int = 2000
    tenant_weight: float = 0.02
    gain_min: float = 0.3
    gain_max: float = 3.0
    quantile: QuantileConfig = field(default_factory=QuantileConfig)

    def __post_init__(self) -> None:
        if self.replicas < 1 or self.tenants < 1:
            raise ValueError("replicas and tenants must be at least 1")
        if not 0 < self.tenant_weight <= 1:
            raise ValueError("tenant_weight must lie in (0, 1]")
        if not 0 < self.gain_min <= 1 <= self.gain_max:
            raise ValueError("gains must satisfy 0 < gain_min <= 1 <= gain_max")


@dataclass(frozen=True, slots=True)
class RungView:
    """What a decision needs to know of one rung.

    Attributes:
        threshold: scores at or above it are meant for the rung.
        yield_threshold: the same while the lane yields; never lower.
        has_budget: the tenant may pay for a new escalation.
        has_sticky_budget: it may pay for another turn of an escalated conversation.

    """

    threshold: float
    yield_threshold: float
    has_budget: bool
    has_sticky_budget: bool


class _RungState:
    """What changes of one rung."""

    def __init__(self, rung: Rung, config: EscalationConfig) -> None:
        self.rung = rung
        self.feedback = ShareFeedback(rung.share, config.gain_min, config.gain_max)
        self.median_rate = 0.0
        self.yielding = 0.0
        self.alarm = False

    def kept(self, above: float, level: float) -> float:
        """The level left while the lane yields; the rungs above have `above` of it."""
        return above + (level - above) * (1 - self.yielding) if self.yielding < 1 else 0.0

    def refresh(self, rates: Iterable[float], share: float, requests: int) -> None:
        """Follow the tenants' median rate, move the gain, and watch the share."""
        self.median_rate = median_low(rates)
        self.feedback.integrate(requests)
        self.alarm = share > (self.rung.alarm_under if self.alarm else self.rung.alarm_over)


class EscalationController:
    """The shares of all rungs in one ingress replica.

    Args:
        rungs: strongest first.
        shipped: the quantiles measured offline, used until traffic was seen.
        config: sizes and bounds.
        replica: this replica's id, so that its own export is not merged back.

    Attributes:
        window: what thresholds are read from.
        accounts: of the tenants that were seen last, the latest at the end.

    """

    def __init__(
        self,
        rungs: Sequence[Rung],
        shipped: Shipped,
        config: EscalationConfig = EscalationConfig(),
        *,
        replica: str = "",
    ) -> None:
        self._config, self._replica = config, replica
        highest = min(1.0, config.gain_max * sum(rung.share for rung in rungs))
        quantile = config.quantile
        quantile = replace(quantile, tail_share=max(quantile.tail_share, highest))
        self.window = QuantileWindow(shipped, quantile)
        self._recent = RecentTraffic(quantile.window)
        self._peers: PeerParts[dict[str | None, int]] = PeerParts(quantile.peer_ttl_s)
        self._rungs = [_RungState(rung, config) for rung in rungs]
        self._defaults = [limits_of(rung.share, config.replicas) for rung in rungs]
        self.accounts: OrderedDict[str, list[Account]] = OrderedDict()
        self._forgot = False
        self._until_refresh = quantile.refresh_every

    def set_yield(self, lane: str, fraction: float) -> None:
        """Keep only the top `1 - fraction` of the share for `lane` (`router.routing.pressure`)."""
        for state in self._rungs:
            if state.rung.lane == lane:
                state.yielding = fraction

    def view(self, tenant: str, budgets: Mapping[str, float]) -> dict[str, RungView]:
        """What holds for the tenant's next scored request; changes nothing.

        Args:
            tenant: its name.
            budgets: lane to the share of its scored requests that may go there;
                a lane that is not named has the rung's share, 0 means never.

        Returns:
            Lane to view, strongest first.

        """
        limits = self._limits(budgets)
        accounts = self.accounts.get(tenant) or self._newcomer(limits)
        views, level = {}, 0.0
        together = zip(self._rungs, accounts, limits, self._edges(limits), strict=True)
        for state, account, limit, edge in together:
            above, level = level, level + state.feedback.level
            threshold = self.window.threshold(level)
            kept = state.kept(above, level)
            affordable = account.hard_level(limit) >= 1
            lent = state.feedback.slack >= 1 and account.rate <= edge
            views[state.rung.lane] = RungView(
                threshold,
                threshold if kept == level else self.window.threshold(kept),
                affordable and (lent or account.own_level(limit) >= 1),
                affordable,
            )
        return views

    def note(
        self,
        tenant: str,
        budgets: Mapping[str, float],
        score: float,
        lane: str | None,
        *,
        sticky: bool,
        now: float,
    ) -> None:
        """Count one scored request, once, after its decision.

        Args:
            tenant: its name.
            budgets: as for `view`.
            score: of the newest turn, in [0, 1].
            lane: where it was escalated to; None, or a lane that is no rung, if it was not.
            sticky: an earlier turn of its conversation had been escalated.
            now: seconds, for the age of what peers sent.

        """
        limits = self._limits(budgets)
        if not any(limit.budget for limit in limits):
            return
        accounts = self._account(tenant, limits)
        thresholds, edges = self._thresholds(), self._edges(limits)
        reached = sum(score < threshold for threshold in thresholds)
        over = range(reached, len(accounts))
        rungs = [(thresholds[rung], accounts[rung].rate, edges[rung]) for rung in over]
        weight = self._recent.weight(tenant, self._config.tenant_weight)
        for at, part in rein_in(score, rungs):
            self.window.add(at, weight * part)
        self._settle(accounts, limits, lane, reached=reached, edges=edges, sticky=sticky)
        self._recent.add(tenant, lane)
        self._until_refresh -= 1
        if self._until_refresh <= 0:
            self._refresh(now)

    def share(self, *, now: float) -> dict[str, float]:
        """What went up per lane, of the last `window` scored requests here and at each peer.

        Fewer than 500 requests count as 500.
        """
        counts = [self._recent.lanes, *self._peers.live(now=now)]
        scored = max(ALARM_MIN_REQUESTS, sum(sum(part.values()) for part in counts))
        lanes = [state.rung.lane for state in self._rungs]
        return {lane: sum(part.get(lane, 0) for part in counts) / scored for lane in lanes}

    @property
    def alarm(self) -> bool:
        """Whether more goes up than any rung's alarm level; as of the last refresh."""
        return any(state.alarm for state in self._rungs)

    def export(self) -> dict[str, Any]:
        """This replica's own part, for the others' `merge`: numbers, strings, lists."""
        lanes = {state.rung.lane: self._recent.lanes[state.rung.lane] for state in self._rungs}
        return {"scored": len(self._recent), "lanes": lanes, "tail": self.window.tail().to_plain()}

    def merge(self, peer: str, exported: dict[str, Any], *, now: float) -> None:
        """Replace what is known of a peer; ValueError when it cannot be read."""
        if peer == self._replica:
            return
        try:
            tail = Tail.from_plain(exported["tail"])
            lanes: dict[str | None, int] = {str(k): int(v) for k, v in exported["lanes"].items()}
            lanes[None] = int(exported["scored"]) - sum(lanes.values())
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"no export of a replica: {error!r}") from error
        self._peers.put(peer, lanes, now=now)
        self.window.merge(peer, tail, now=now)

    def _limits(self, budgets: Mapping[str, float]) -> list[Limits]:
        if not budgets:
            return self._defaults
        rungs, replicas = [state.rung for state in self._rungs], self._config.replicas
        return [limits_of(budgets.get(rung.lane, rung.share), replicas) for rung in rungs]

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
            Account(0.0 if self._forgot else limit.depth, rate)
            for limit, rate in zip(limits, rates, strict=True)
        ]

    def _edges(self, limits: Sequence[Limits]) -> list[float]:
        """Per rung, the rate over its threshold from which a tenant is out of line."""
        budgets = accumulate(limit.budget for limit in limits)
        states = self._rungs
        return [2 * max(b, s.median_rate) for b, s in zip(budgets, states, strict=True)]

    def _thresholds(self) -> list[float]:
        levels = accumulate(state.feedback.level for state in self._rungs)
        return [self.window.threshold(level) for level in levels]

    def _settle(
        self,
        accounts: Sequence[Account],
        limits: Sequence[Limits],
        lane: str | None,
        *,
        reached: int,
        edges: Sequence[float],
        sticky: bool,
    ) -> None:
        """Fill and charge the buckets, and tell the feedback."""
        together = zip(self._rungs, accounts, limits, edges, strict=True)
        for index, (state, account, limit, edge) in enumerate(together):
            escalated = lane == state.rung.lane
            account.earn(limit)
            if escalated:
                account.pay(limit, sticky=sticky)
            account.rate += ((index >= reached) - account.rate) / RATE_REQUESTS
            if limit.budget and account.rate <= edge:
                state.feedback.count(wanted=index == reached, escalated=escalated)

    def _refresh(self, now: float) -> None:
        requests = self._config.quantile.refresh_every
        self._until_refresh = requests
        self.window.refresh(now=now)
        self._peers.drop_dead(now=now)
        last = list(islice(reversed(self.accounts.values()), MEDIAN_TENANTS))
        share = self.share(now=now)
        for index, state in enumerate(self._rungs):
            rates = (accounts[index].rate for accounts in last)
            state.refresh(rates, share[state.rung.lane], requests)
