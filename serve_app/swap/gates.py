"""Requests of one ingress replica that wait for their lane to wake.

A lane of a pool has a gate. While it is open a request passes without awaiting anything; else
it waits in here, and the pool's arbiter is told. On opening, all that wait are let through: by
then each has a slot of its lane, which were given out in the order of tiers and tenants
(`router.admission.lane_queue`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from router.errors import Rejected, RejectReason
from router.swap.arbiter import LEASE_S
from router.swap.waiting_room import WaitingRoom
from serve_app.config.fleet import FleetConfig
from serve_app.config.pools import PoolConfig, lanes_of

logger = logging.getLogger("ray.serve")

Exchange = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""Gives the arbiter a report on each pool, and returns what it says."""

IDLE_BEAT_S, BUSY_BEAT_S = 0.5, 0.1
"""Pause between two reports; the shorter one while requests wait."""
ANSWER_WITHIN_S = 1.0
LEAST_RETRY_S = 1.0
_ALL_SHUT: Mapping[str, Any] = {"closing": 0, "open_lanes": (), "wait_s": {}, "broken_s": {}}


class Pass:
    """One request's way through a gate. `leave` gives it back; idempotent."""

    __slots__ = ("_begun", "_gate", "_has_left", "_priority")

    def __init__(self, gate: Gate, priority: int) -> None:
        self._gate, self._priority, self._has_left = gate, priority, False
        self._begun = time.monotonic()
        gate.running[priority] += 1

    def leave(self) -> None:
        if not self._has_left:
            self._has_left = True
            self._gate.running[self._priority] -= 1
            self._gate.longest_s = max(self._gate.longest_s, time.monotonic() - self._begun)


class Gate:
    """One lane's gate.

    Attributes:
        is_open: the arbiter's last word; it holds until `Gates.lease_until`.
        was_open: it was once.
        wait_s: a guess at the seconds until it opens; `broken_s`: how long until a lane that
            did not wake is tried again, 0: it is not known to be broken.
        running: requests that were let through, by priority.
        longest_s: of those that have ended since the last report, the longest.
        room: for those that wait for any lane of the pool.
        waiters: those that wait, each with its priority and when its bound began.

    """

    def __init__(self, lane: str, pool: PoolConfig, room: WaitingRoom) -> None:
        self.lane, self.pool, self.room = lane, pool, room
        self.is_open = self.was_open = False
        self.wait_s = self.broken_s = self.longest_s = 0.0
        self.running: Counter[int] = Counter()
        self.waiters: dict[asyncio.Future[None], tuple[int, float]] = {}

    def waiting(self, now: float) -> dict[int, float]:
        """Return by priority how much of the pool's bound is gone for the oldest, in seconds."""
        oldest: dict[int, float] = {}
        for priority, since in self.waiters.values():
            oldest[priority] = max(now - since, oldest.get(priority, 0.0))
        return oldest

    def tell(self, *, is_open: bool, wait_s: float, broken_s: float) -> None:
        """Take the arbiter's word; who waits looks again where that changes anything for it."""
        self.is_open, self.wait_s, self.broken_s = is_open, wait_s, broken_s
        self.was_open |= is_open
        if is_open or broken_s > 0:
            for waiter in self.waiters:
                if not waiter.done():
                    waiter.set_result(None)


class Gates:
    """The gates of all lanes of pools, kept in step with the arbiter."""

    def __init__(self, fleet: FleetConfig, holder: str, exchange: Exchange) -> None:
        self._holder, self._exchange = holder, exchange
        rooms = {name: WaitingRoom(pool.max_waiting) for name, pool in fleet.pools.items()}
        self._pools = {
            name: [Gate(x, pool, rooms[name]) for x in lanes_of(name, fleet.enabled_lanes)]
            for name, pool in fleet.pools.items()
        }
        self._gates = {gate.lane: gate for gates in self._pools.values() for gate in gates}
        self._heard = dict.fromkeys(self._pools, 0)
        self._lease_until = float("-inf")
        self._hurry = asyncio.Event()
        self._is_failing = False

    async def enter(
        self, lane: str, tenant: str, priority: int, waited_s: float, within_s: float | None
    ) -> Pass | Rejected | None:
        """Let a request through to its lane, once it is awake. None: its lane has no gate.

        Args:
            lane: the request's.
            tenant: whose it is.
            priority: its tier's.
            waited_s: since it came.
            within_s: the most that it may have waited when it is let through; None: only the
                pool's bound counts.

        """
        gate = self._gates.get(lane)
        if gate is None:
            return None
        if self._is_passable(gate):
            return Pass(gate, priority)
        if not gate.room.try_enter(tenant):
            return _full(gate)
        try:
            return await self._wait(gate, priority, waited_s, within_s)
        finally:
            gate.room.leave(tenant)

    def is_shut(self, lane: str) -> bool:
        """Whether a request for the lane would wait."""
        gate = self._gates.get(lane)
        return gate is not None and not self._is_passable(gate)

    def has_slept_only(self, lane: str) -> bool:
        """Whether no lane of the lane's pool has been awake yet: then nobody knows if one can."""
        gate = self._gates.get(lane)
        return gate is not None and not any(
            x.was_open for x in self._gates.values() if x.pool is gate.pool
        )

    def _is_passable(self, gate: Gate) -> bool:
        return gate.is_open and time.monotonic() < self._lease_until

    async def _wait(
        self, gate: Gate, priority: int, waited_s: float, within_s: float | None
    ) -> Pass | Rejected:
        bound_s = min(gate.pool.wait_bound_s, within_s or float("inf"))
        # Of whoever may wait for less, that much of the pool's bound is gone already: its lane is
        # woken in time for its own.
        since = time.monotonic() - waited_s - (gate.pool.wait_bound_s - bound_s)
        try:
            async with asyncio.timeout(bound_s - waited_s):
                while not self._is_passable(gate):
                    if gate.broken_s > 0:
                        return _broken(gate)
                    await self._word(gate, priority, since)
        except TimeoutError:
            return _late(gate, bound_s, is_silent=self._is_failing)
        return Pass(gate, priority)

    async def _word(self, gate: Gate, priority: int, since: float) -> None:
        """Wait until the arbiter says something else of the gate."""
        waiter = asyncio.get_running_loop().create_future()
        gate.waiters[waiter] = priority, since
        self._hurry.set()
        try:
            await waiter
        finally:
            del gate.waiters[waiter]

    # -- the arbiter -----------------------------------------------------------------

    async def run(self) -> None:
        while True:
            try:
                await self.beat()
            except Exception:
                logger.exception("swap: a report failed")
            # Not all of them at once, however many come.
            await asyncio.sleep(BUSY_BEAT_S)
            if not any(gate.waiters for gate in self._gates.values()):
                try:
                    async with asyncio.timeout(IDLE_BEAT_S - BUSY_BEAT_S):
                        await self._hurry.wait()
                except TimeoutError:
                    pass
            self._hurry.clear()

    async def beat(self) -> None:
        """Report, and take the answer."""
        begun = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                told = await self._exchange(self._reports(begun))
        except Exception as error:  # noqa: BLE001 - whatever it is, gates shut with the lease
            if not self._is_failing:
                logger.warning("swap: the arbiter does not answer: %s", type(error).__name__)
            self._is_failing = True
            return
        self._is_failing = False
        self._lease_until = begun + LEASE_S
        for pool in self._pools:
            # An arbiter of a newer fleet file may not know it, and has its lanes go.
            self._take(pool, told.get(pool, _ALL_SHUT))

    def _reports(self, now: float) -> dict[str, Any]:
        reports = {
            pool: {
                "holder": self._holder,
                "heard": self._heard[pool],
                "waiting": {x.lane: x.waiting(now) for x in gates if x.waiters},
                "running": {x.lane: dict(+x.running) for x in gates if +x.running},
                "longest": {x.lane: x.longest_s for x in gates if x.longest_s},
            }
            for pool, gates in self._pools.items()
        }
        for gate in self._gates.values():
            gate.longest_s = 0.0
        return reports

    def _take(self, pool: str, verdict: Mapping[str, Any]) -> None:
        self._heard[pool] = verdict["closing"]
        for gate in self._pools[pool]:
            gate.tell(
                is_open=gate.lane in verdict["open_lanes"],
                wait_s=verdict["wait_s"].get(gate.lane, 0.0),
                broken_s=verdict["broken_s"].get(gate.lane, 0.0),
            )

    def status(self) -> dict[str, dict[str, Any]]:
        """By lane of a pool: whether it is awake as far as is known here, and who waits."""
        return {
            gate.lane: {
                "pool": pool,
                "awake": self._is_passable(gate),
                "waiting": len(gate.waiters),
                "wait_s": round(gate.wait_s, 1),
            }
            for pool, gates in self._pools.items()
            for gate in gates
        }


def sleeps(gates: Gates | None, lane: str) -> bool:
    """Whether a lane's engine could only refuse what did not pass its gate."""
    return gates is not None and gates.is_shut(lane)


def _full(gate: Gate) -> Rejected:
    message = (
        f"Lane '{gate.lane}' sleeps, and as many requests as may wait for it already do, or as "
        "many of yours."
    )
    return Rejected(RejectReason.NO_REPLICA, message, _later(gate.wait_s))


def _broken(gate: Gate) -> Rejected:
    message = f"Lane '{gate.lane}' sleeps and could not be woken; it is tried again shortly."
    return Rejected(RejectReason.NO_REPLICA, message, _later(gate.broken_s))


def _late(gate: Gate, bound_s: float, *, is_silent: bool) -> Rejected:
    why = "nobody could wake it" if is_silent else "other lanes had its cards"
    message = f"Lane '{gate.lane}' sleeps, and {why} within {bound_s:g} s."
    return Rejected(RejectReason.DEADLINE_EXCEEDED, message, _later(gate.wait_s))


def _later(seconds: float) -> float:
    return max(LEAST_RETRY_S, seconds)
