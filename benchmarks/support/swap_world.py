"""A pool of lanes in virtual time: requests that come, stream and end, and what swapping costs.

Engines have room for every request, so that a request takes as long as it takes, whoever runs
beside it: what is compared is who is awake when.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from random import Random

from router.swap.arbiter import Arbiter, Report
from router.swap.pool import SwapPool
from router.swap.terms import Act, Expected, Order, Phase, PoolBounds, PooledLane, nothing_expected

BEAT_S = 0.2


@dataclass(slots=True)
class Request:
    """One request; `started` is None until its lane takes it, and if it was refused."""

    lane: str
    at: float
    service_s: float
    priority: int = 0
    started: float | None = None

    @property
    def wait_s(self) -> float:
        return float("inf") if self.started is None else self.started - self.at


@dataclass(frozen=True, slots=True)
class SwapCosts:
    """Seconds, each drawn evenly from `jitter` around the figure."""

    wake_s: float
    rest_s: float
    load_s: float = 60.0
    jitter: float = 0.1


@dataclass
class World:
    """What happens to the requests under the policy of `router.swap`.

    Attributes:
        swaps: wakings from the first request on.
        most_awake: lanes that had a card at the same time, at most.
        broken: lanes that were told to rest while requests ran in them; must stay empty.

    """

    requests: Sequence[Request]
    bounds: PoolBounds
    lanes: Sequence[PooledLane]
    costs: SwapCosts
    seed: int = 1
    refuses: bool = True
    expected: Expected = nothing_expected
    host_gib: float = 1000.0
    holders: int = 1
    fails: Callable[[str, float], bool] = lambda _lane, _now: False
    swaps: int = 0
    most_awake: int = 0
    broken: list[str] = field(default_factory=list)
    slept: list[str] = field(default_factory=list)

    def run(self) -> World:
        """Play until every request has ended or was refused."""
        self._random, self._number = Random(self.seed), count()
        pool = SwapPool(self.bounds, self.lanes, host_gib=self.host_gib)
        for state in pool.lanes.values():
            state.cards, state.weights_gib = frozenset(), 1.0
        self.arbiter = Arbiter(pool, now=0.0)
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._open: list[frozenset[str]] = [frozenset() for _ in range(self.holders)]
        self._heard = [0] * self.holders
        self._longest: list[dict[str, float]] = [defaultdict(float) for _ in range(self.holders)]
        self._waiting: list[list[Request]] = [[] for _ in range(self.holders)]
        self._running: list[dict[str, dict[int, int]]] = [
            defaultdict(lambda: defaultdict(int)) for _ in range(self.holders)
        ]
        self._left = len(self.requests)
        for number, request in enumerate(self.requests):
            holder = number % self.holders
            self._at(request.at, partial(self._arrive, request, holder))
        self._at(0.0, self._beat)
        while self._left and self._events:
            now, _, event = heapq.heappop(self._events)
            event(now)
        self.swaps = pool.swaps
        return self

    def _at(self, at: float, event: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (at, next(self._number), event))

    def _arrive(self, request: Request, holder: int, now: float) -> None:
        if request.lane in self._open[holder]:
            self._begin(request, holder, now)
            return
        self._waiting[holder].append(request)
        self._exchange(holder, now)

    def _begin(self, request: Request, holder: int, now: float) -> None:
        request.started = now
        self._running[holder][request.lane][request.priority] += 1
        self._at(now + request.service_s, lambda at: self._end(request, holder, at))

    def _end(self, request: Request, holder: int, now: float) -> None:
        longest, took = self._longest[holder], now - (request.started or now)
        longest[request.lane] = max(longest[request.lane], took)
        running = self._running[holder][request.lane]
        running[request.priority] -= 1
        if not running[request.priority]:
            del running[request.priority]
        self._left -= 1

    def _beat(self, now: float) -> None:
        for holder in range(self.holders):
            self._exchange(holder, now)
        self._at(now + BEAT_S, self._beat)

    def _exchange(self, holder: int, now: float) -> None:
        if self.refuses:
            bound = self.bounds.wait_bound_s
            late = [x for x in self._waiting[holder] if now - x.at > bound]
            self._waiting[holder] = [x for x in self._waiting[holder] if x not in late]
            self._left -= len(late)
        waiting: dict[str, dict[int, float]] = defaultdict(dict)
        for request in self._waiting[holder]:
            oldest = waiting[request.lane].get(request.priority, 0.0)
            waiting[request.lane][request.priority] = max(oldest, now - request.at)
        running = {k: dict(v) for k, v in self._running[holder].items() if v}
        report = Report(
            str(holder), self._heard[holder], waiting, running, {**self._longest[holder]}
        )
        self._longest[holder].clear()
        verdict = self.arbiter.hear(report, now)
        self._open[holder], self._heard[holder] = verdict.open_lanes, verdict.closing
        ready = [x for x in self._waiting[holder] if x.lane in verdict.open_lanes]
        self._waiting[holder] = [x for x in self._waiting[holder] if x not in ready]
        for request in ready:
            self._begin(request, holder, now)
        for order in self.arbiter.step(now, self.expected):
            self._do(order, now)
        awake = [x for x in self.arbiter.pool.lanes.values() if not x.is_resting]
        self.most_awake = max(self.most_awake, len(awake))

    def _do(self, order: Order, now: float) -> None:
        pool, lane = self.arbiter.pool, order.lane
        if order.act is Act.WAKE:
            if self.fails(lane, now):
                self._at(now + 1.0, lambda at: pool.failed(lane, at))
                return
            asleep = pool.lanes[lane].origin is Phase.ASLEEP
            took = self._drawn(self.costs.wake_s if asleep else self.costs.load_s)
            self._at(now + took, lambda at: self._woken(lane, at))
            return
        self.slept.append(lane)
        if any(x.get(lane) for x in self._running):
            self.broken.append(lane)
        self._at(now + self._drawn(self.costs.rest_s), lambda at: pool.rested(lane, order.act, at))

    def _woken(self, lane: str, now: float) -> None:
        self.arbiter.pool.woken(lane, now)

    def _drawn(self, seconds: float) -> float:
        return seconds * (1 + self.costs.jitter * (2 * self._random.random() - 1))
