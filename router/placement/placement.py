"""One ingress replica's view of one lane, and where it sends each turn.

Every lane replica publishes (through Serve's broadcast, about once a second) a `Report`: its
open requests by ingress, its KV utilization, its spilled sessions and its groups' demand.
Between two reports an ingress knows its own open requests exactly and the others' as
last published, so its estimate is `others' open as published + own open now`.

Ingress replicas with the same reports and no requests of their own place every turn
alike. A session whose home changes, because a replica of its subset has gone or come, stays
where it is warm: each ingress remembers where it placed it last. It counts as spilled from
then on, so the others find it too. Without that, losing one of two replicas of a subset
would also move a third of the sessions on the other.

A replica that is *draining* is placed nothing while another one lives: its sessions go to the
next replica of their order, and stay there. It says so in its report; an ingress that was told
earlier withdraws it by itself until then. Replicas of the warm pool (`standing_by`) are placed
nothing either, until the others are used.

Memory: `tracked` last places (about 300 bytes each), and one entry a live replica;
reports are bounded by those that publish them.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from router.placement.affinity import (
    AffinityConfig,
    Outcome,
    Placement,
    ReplicaLoad,
    TurnFacts,
    owned_replicas,
    place,
    session_order,
    subset_size,
)
from router.placement.replica import rank_replicas
from router.placement.spilled_sessions import session_hash
from router.placement.standby import standing_by
from router.types import record

ORDERS = 4096
"""Groups whose order of the replicas is remembered until those change: 8 bytes a replica each."""

# A choice counts as an open request until it is opened, or for this long.
CHOSEN_S = 1.0


@record
class Report:
    """What a lane replica publishes.

    Attributes:
        open: open requests by ingress replica.
        kv_utilization: 0 to 1.
        spilled: number of the last move, by the session's `session_hash`.
        groups: mean open requests and turns a day, by group.
        draining: it is to get no more turns.

    """

    open: Mapping[str, int] = field(default_factory=dict)
    kv_utilization: float = 0.0
    spilled: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, Sequence[float]] = field(default_factory=dict)
    draining: bool = False

    @classmethod
    def from_mapping(cls, stats: Mapping[str, Any]) -> Report:
        """Read what `to_mapping` gave; an empty mapping is an idle replica."""
        return cls(
            stats.get("open", {}),
            stats.get("kv", 0.0),
            stats.get("spilled", {}),
            stats.get("groups", {}),
            stats.get("draining", False),
        )

    def to_mapping(self) -> dict[str, Any]:
        """Write it as plain values, which cross process boundaries."""
        return {
            "open": dict(self.open),
            "kv": self.kv_utilization,
            "spilled": dict(self.spilled),
            "groups": {name: list(figures) for name, figures in self.groups.items()},
            **({"draining": True} if self.draining else {}),
        }


@dataclass(slots=True)
class _LastPlace:
    replica: str
    number: int
    at: float


class LanePlacement:
    """Places the turns of one lane. Not thread-safe.

    `me` is this ingress replica's id, as lane replicas publish it. `last_places` has at most
    `tracked` sessions, the latest turn at the end, each for `warm_s` after its last turn.
    `standby` replicas get no turns while the others are used to less than 85 %, of `full_at`
    requests or, where that is None, of their slots.
    """

    def __init__(
        self,
        config: AffinityConfig,
        me: str,
        *,
        tracked: int = 20_000,
        warm_s: float = 600.0,
        standby: int = 0,
        full_at: int | None = None,
    ) -> None:
        self.config = config
        self._me = me
        self._capacity = tracked
        self._warm_s = warm_s
        self._standby, self._full_at = standby, full_at
        self.last_places: OrderedDict[str, _LastPlace] = OrderedDict()
        self._open: Counter[str] = Counter()
        self._chosen: dict[str, deque[float]] = {}
        self._stats: dict[str, Mapping[str, Any]] = {}
        self._reports: dict[str, Report] = {}
        self._withdrawn: set[str] = set()
        self._slots = 1
        # What follows from one set of reports, until the next.
        self._open_ids: list[str] = []
        self._group_open: dict[str, float] = {}
        self._owned: dict[str, list[str]] = {}
        self._shared: list[str] = []
        self._orders: dict[str, list[str]] = {}

    def choose(
        self,
        turn: TurnFacts,
        stats: Mapping[str, Mapping[str, Any]],
        slots: int,
        avoid: frozenset[str] = frozenset(),
        *,
        now: float,
    ) -> Placement:
        """Place a turn; its request counts as open here from now on.

        `stats` is what each live replica published last, by id: of one replica at least.
        One engine of the lane runs `slots` sequences at once. Replicas to `avoid` have
        failed this request; they are not chosen while there are others.
        """
        self._update(stats, slots)
        order, size = self._order(turn, slots, avoid)
        loads = {replica: self._load(replica, slots, now) for replica in order}
        key = session_hash(turn.session)
        known = self._whereabouts(key, order, now)
        placed = place(self.config, turn, order, size, loads, known and known[0])
        spilled = self._remember(key, placed, known, now) if not avoid else None
        replica = placed.order[0]
        chosen = self._chosen.get(replica)
        if chosen is None:
            chosen = self._chosen[replica] = deque()
        chosen.append(now + CHOSEN_S)
        tried = placed.order
        if len(stats) > len(loads):
            tried = tried + sorted([other for other in stats if other not in loads])
        return Placement(tried, placed.outcome, spilled)

    def begin(self, replica: str) -> None:
        chosen = self._chosen.get(replica)
        if chosen:
            chosen.popleft()
        self._open[replica] += 1

    def end(self, replica: str) -> None:
        self._open[replica] -= 1
        if self._open[replica] <= 0:
            del self._open[replica]

    def withdraw(self, replica: str) -> None:
        """Place nothing on a replica from now on, whatever it reports, until `restore`."""
        self._withdrawn.add(replica)
        self._derive()

    def restore(self, replica: str) -> None:
        """Go by the replica's own report again."""
        self._withdrawn.discard(replica)
        self._derive()

    def loads(self, *, now: float) -> dict[str, int]:
        """Return open requests by live replica, as this ingress sees them."""
        return {replica: self._load(replica, 1, now).open for replica in self._reports}

    # -- the view -------------------------------------------------------------

    def _update(self, stats: Mapping[str, Mapping[str, Any]], slots: int) -> None:
        """Read what is new; most turns find the reports that the last one found."""
        seen = self._stats
        if stats == seen:
            return
        for replica in seen.keys() - stats.keys():
            self._chosen.pop(replica, None)
        self._reports = {
            replica: self._reports[replica]
            if seen.get(replica) is given
            else Report.from_mapping(given)
            for replica, given in stats.items()
        }
        self._stats = dict(stats)
        self._slots = slots
        self._derive()

    def _derive(self) -> None:
        group_open: dict[str, float] = {}
        turns: dict[str, float] = {}
        for report in self._reports.values():
            for group, (mean_open, a_day) in report.groups.items():
                group_open[group] = group_open.get(group, 0.0) + mean_open
                turns[group] = turns.get(group, 0.0) + a_day
        everyone = sorted(self._reports)
        ids = [x for x in everyone if x not in self._withdrawn and not self._reports[x].draining]
        # Where all of them drain, one that drains is better than none.
        ids = ids or everyone
        if self._standby:
            idle = standing_by({x: self._in_use(x) for x in ids}, self._standby)
            ids = [x for x in ids if x not in idle]
        self._open_ids = ids
        owned: dict[str, list[str]] = {}
        if self.config.dedicated_replicas:
            size = partial(subset_size, self.config, slots=self._slots, replicas=len(ids))
            sizes = {group: size(group_open[group]) for group in turns}
            owned = owned_replicas(turns, sizes, ids, self.config.own_turns_per_day)
        taken = {replica for replicas in owned.values() for replica in replicas}
        self._group_open, self._owned = group_open, owned
        shared = [replica for replica in ids if replica not in taken]
        if shared != self._shared:
            self._shared = shared
            self._orders.clear()

    def _in_use(self, replica: str) -> float:
        """Return the share of a replica that is used, as it published it."""
        report = self._reports[replica]
        return max(
            sum(report.open.values()) / (self._full_at or self._slots), report.kv_utilization
        )

    def _order(self, turn: TurnFacts, slots: int, avoid: frozenset[str]) -> tuple[list[str], int]:
        """Return the session's order over the replicas open to it, and its subset's size."""
        own = self._owned.get(turn.group)
        candidates = self._ranked(turn.group)
        if own is not None:
            # Its own first; the shared ones take what spills.
            candidates, size = own + candidates, len(own)
        else:
            mean_open = self._group_open.get(turn.group, 0.0)
            size = subset_size(self.config, mean_open, slots, len(candidates))
        order = session_order(turn, candidates, size)
        left = [replica for replica in order if replica not in avoid]
        if left:
            return left, min(size, len(left))
        for known in (self._open_ids, sorted(self._reports)):
            everywhere = [replica for replica in known if replica not in avoid]
            if everywhere:
                return everywhere, len(everywhere)
        return order, len(order)

    def _ranked(self, group: str) -> list[str]:
        """Return the shared replicas in a group's order: the same for as long as those are."""
        known = self._orders.get(group)
        if known is None:
            if len(self._orders) >= ORDERS:
                self._orders.clear()
            known = self._orders[group] = rank_replicas(group, self._shared)
        return known

    def _load(self, replica: str, slots: int, now: float) -> ReplicaLoad:
        report = self._reports[replica]
        # All that it has open, but for ours as it knew them.
        opened = sum(report.open.values()) - report.open.get(self._me, 0) + self._open[replica]
        chosen = self._chosen.get(replica)
        while chosen and chosen[0] <= now:
            chosen.popleft()
        if chosen:
            opened += len(chosen)
        return ReplicaLoad(opened, slots, report.kv_utilization)

    # -- spilled sessions ---------------------------------------------------------------

    def _whereabouts(self, key: str, order: Sequence[str], now: float) -> tuple[str, int] | None:
        """Return where a session was placed last and the number of that move; None: home.

        Of two claims with the same number the one earlier in the session's order wins.
        The number is 0 for a session that stayed while its home changed.
        """
        best: tuple[str, int] | None = None
        last = self._last_place(key, now)
        for replica in order:
            number = self._reports[replica].spilled.get(key, 0)
            if last is not None and last.replica == replica:
                number = max(number, last.number)
            if number and (best is None or number > best[1]):
                best = replica, number
        if best is None and last is not None and last.replica in order[1:]:
            return last.replica, 0
        return best

    def _last_place(self, key: str, now: float) -> _LastPlace | None:
        last = self.last_places.get(key)
        if last is not None and now - last.at > self._warm_s:
            del self.last_places[key]
            return None
        return last

    def _remember(
        self, key: str, placed: Placement, known: tuple[str, int] | None, now: float
    ) -> tuple[str, int] | None:
        number = 0
        if known is not None or placed.outcome is not Outcome.HOME:
            at, moves = known or ("", 0)
            number = moves if at == placed.replica and moves else moves + 1
        self.last_places[key] = _LastPlace(placed.replica, number, now)
        self.last_places.move_to_end(key)
        if len(self.last_places) > self._capacity:
            self.last_places.popitem(last=False)
        return (key, number) if number else None
