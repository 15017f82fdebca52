"""The arbiter's deployment: one replica, which alone tells lanes of pools to wake and to rest.

It is a deployment of its own, and not a part of an ingress replica, so that there is one
whatever the number of those, and in a rollout, in which old and new ones serve side by side.
Ingress replicas ask it in the background (`gates`); while it is away, lanes stay as they are,
and nothing new is let through to them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from router.scaling.foretold import expected_of
from router.swap.arbiter import Arbiter, report_from_wire
from router.swap.pool import SwapPool
from router.swap.terms import Act, Expected, Order, Phase, nothing_expected
from serve_app.config.settings import load_fleet
from serve_app.swap.expecting import KnownForecasts
from serve_app.swap.pools import pools_of
from serve_app.transport.broadcast import ask_all

logger = logging.getLogger("ray.serve")

TICK_S = 0.1
LOOK_S = 2.0
"""Pause between two looks at lanes that are told nothing: a replica may have been replaced."""
ASK_WITHIN_S = 2.0
PATIENCE_S = 0.1
"""A turn waits no longer for answers; those that come later are noted when they come."""
LOST_AFTER_S = 60.0
"""A replica that carries out an order and does not answer for so long is gone."""


class SwapService:
    """The pools of one deployment.

    Args:
        handles: of the lanes that are in a pool.
        epoch: larger than that of any service before this one.
        expected: a forecast of requests, where there is one.

    """

    def __init__(
        self,
        pools: Mapping[str, SwapPool],
        handles: Mapping[str, DeploymentHandle[Any]],
        *,
        epoch: int,
        expected: Expected = nothing_expected,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        now = clock()
        self.arbiters = {x: Arbiter(pool, now=now, epoch=epoch) for x, pool in pools.items()}
        self._handles, self._clock, self._expected = handles, clock, expected
        self._heard_at = dict.fromkeys(handles, now)
        self._begun, self._unseen = now, set(handles)
        self._looked_at = float("-inf")
        # One at a time of each lane, so that an answer is never older than an order.
        self._asking: dict[str, asyncio.Task[None]] = {}

    def exchange(self, wire: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Take what an ingress replica says of each pool; return what it is told."""
        now = self._clock()
        return {
            pool: asdict(self.arbiters[pool].hear(report_from_wire(told), now))
            for pool, told in wire.items()
            if pool in self.arbiters
        }

    async def run(self) -> None:
        try:
            await self.look()
            while True:
                await self._try_turn()
                await asyncio.sleep(TICK_S)
        finally:
            for task in self._asking.values():
                task.cancel()

    async def _try_turn(self) -> None:
        try:
            await self.turn()
        except Exception:
            # It must outlive whatever a lane answers.
            logger.exception("swap: a turn failed")

    async def turn(self) -> None:
        """See how orders go, now and then everything else, and give the next ones."""
        now = self._clock()
        if now - self._looked_at >= LOOK_S:
            await self.look()
        else:
            await self._see([x for x in self._handles if self._is_under_way(x)])
        for arbiter in self.arbiters.values():
            if self._is_known(arbiter.pool):
                await self._give(arbiter.step(self._clock(), self._expected))

    def _is_known(self, pool: SwapPool) -> bool:
        """Whether every lane has told where its engine is, so that none is awake unknown."""
        is_late = self._clock() - self._begun > LOST_AFTER_S
        return is_late or not self._unseen & pool.lanes.keys()

    async def look(self) -> None:
        """See where the engines of all lanes are."""
        self._looked_at = self._clock()
        await self._see(list(self._handles))

    async def _see(self, lanes: list[str]) -> None:
        """Ask where engines are, but those that have not answered yet."""
        await self._ask_all({x: ("sleep_row",) for x in lanes if x not in self._asking})

    async def _give(self, orders: Iterable[Order]) -> None:
        told = {}
        for order in orders:
            logger.info("swap: lane '%s' is told to %s", order.lane, order.act.value)
            told[order.lane] = ("obey", order.act.value)
            if (before := self._asking.pop(order.lane, None)) is not None:
                before.cancel()
        await self._ask_all(told)

    async def _ask_all(self, asked: Mapping[str, tuple[str, ...]]) -> None:
        """Ask lanes' replicas, and wait a little: one that hangs is no other lane's affair."""
        tasks = {x: asyncio.create_task(self._noted(x, *call)) for x, call in asked.items()}
        self._asking |= tasks
        if tasks:
            await asyncio.wait(tasks.values(), timeout=PATIENCE_S)

    async def _noted(self, lane: str, method: str, *args: str) -> None:
        """Ask, and note the answer, or that there was none."""
        mine = asyncio.current_task()
        try:
            self._note(lane, await self._ask(lane, method, *args))
        except Exception:
            # It must outlive whatever a lane answers.
            logger.exception("swap: the answer of lane '%s' cannot be used", lane)
        finally:
            if self._asking.get(lane) is mine:
                del self._asking[lane]

    async def _ask(self, lane: str, method: str, *args: Any) -> dict[str, Any] | None:
        """Ask the lane's replica; None: it does not answer."""
        try:
            found = await ask_all(self._handles[lane], method, *args, within_s=ASK_WITHIN_S)
        except (TimeoutError, DeploymentUnavailableError):
            return None
        except Exception as error:  # noqa: BLE001 - whatever it is, the other lanes go on
            logger.warning("swap: lane '%s' cannot be asked: %s", lane, type(error).__name__)
            return None
        return next((x for x in found if isinstance(x, dict)), None)

    def _pool(self, lane: str) -> SwapPool:
        return next(x.pool for x in self.arbiters.values() if lane in x.pool.lanes)

    def _is_under_way(self, lane: str) -> bool:
        return self._pool(lane).lanes[lane].phase in (Phase.FALLING, Phase.WAKING)

    def _note(self, lane: str, row: dict[str, Any] | None) -> None:
        """Take over where a lane's engine is."""
        pool, now = self._pool(lane), self._clock()
        state, is_lost = pool.lanes[lane], now - self._heard_at[lane] > LOST_AFTER_S
        if row is None:
            if is_lost:
                pool.lost(lane, now)
            return
        if is_lost:
            # It is back, and need not wait for its next attempt.
            state.retry_at = now
        self._heard_at[lane] = now
        self._unseen.discard(lane)
        state.cards = None if row["cards"] is None else frozenset(row["cards"])
        state.weights_gib = row["weights_gib"]
        phase = Phase(row["phase"])
        if state.phase is Phase.WAKING:
            self._note_waking(pool, lane, phase, row["error"])
        elif state.phase is Phase.FALLING:
            self._note_falling(pool, lane, phase)
        else:
            pool.found(lane, phase, now)

    def _note_waking(self, pool: SwapPool, lane: str, phase: Phase, error: str) -> None:
        now = self._clock()
        if phase is Phase.AWAKE:
            seconds = pool.woken(lane, now)
            logger.info("swap: lane '%s' is awake after %.1f s", lane, seconds)
        elif phase is not Phase.WAKING:
            logger.error("swap: lane '%s' did not wake (%s)", lane, error or "replaced")
            pool.failed(lane, now)

    def _note_falling(self, pool: SwapPool, lane: str, phase: Phase) -> None:
        now = self._clock()
        if phase is Phase.AWAKE:
            # Requests were open there after all.
            pool.busy(lane, now)
        elif phase is not Phase.FALLING:
            act = Act.SLEEP if phase is Phase.ASLEEP else Act.UNLOAD
            pool.rested(lane, act, now)


class SwapServer:
    """The Serve deployment."""

    def __init__(
        self, handles: dict[str, DeploymentHandle[Any]], *, fleet_file: str, simulated: bool
    ) -> None:
        fleet = load_fleet(Path(fleet_file))
        pools = pools_of(fleet, now=time.monotonic(), simulated=simulated)
        self._forecasts = KnownForecasts(lane for pool in pools.values() for lane in pool.lanes)
        # Of the wall clock, which goes on where the monotonic one of a machine begins anew.
        self._service = SwapService(
            pools,
            handles,
            epoch=time.time_ns() // 1_000_000,
            expected=expected_of(
                (x.lanes for x in pools.values()),
                self._forecasts.read,
                clock=time.monotonic,
                wall=time.time,  # noqa: TID251  # forecasts are of times of day
            ),
        )
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    async def exchange(self, wire: dict[str, Any]) -> dict[str, Any]:
        self._begin()
        return self._service.exchange(wire)

    async def check_health(self) -> None:
        """Healthy for as long as it answers."""
        self._begin()

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _begin(self) -> None:
        """Begin on the replica's event loop, which there is none of in the constructor."""
        if not self._tasks:
            works = self._service.run(), self._forecasts.keep()
            self._tasks = tuple(map(asyncio.get_running_loop().create_task, works))
