"""A simulated engine that gives its card to others: it takes the time, and holds nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp

from serve_app.engine.sleeping.engine import EngineFacts
from simulator.http.app import SimulatedEngineApp
from simulator.http.sleep import SleepingEngineApp
from simulator.http.spec import EngineSpec


class SimulatedSleeper:
    """A `SleepyEngine`; `warm` has it answer once."""

    def __init__(self, spec: EngineSpec, warm: Callable[[], Awaitable[None]]) -> None:
        self._spec, self._warm = spec, warm
        self._app = self._new()

    def _new(self) -> SleepingEngineApp:
        return SleepingEngineApp(SimulatedEngineApp(self._spec), self._spec.sleep)

    async def load(self) -> ASGIApp:
        await asyncio.sleep(self._spec.sleep.load_s)
        self._app = self._new()
        return self._app

    async def warm(self) -> None:
        await self._warm()

    async def unload(self) -> None:
        await asyncio.sleep(self._spec.sleep.unload_s)

    async def sleep(self) -> None:
        await self._app.sleep()

    async def wake(self) -> None:
        await self._app.wake_up()

    async def facts(self) -> EngineFacts:
        return EngineFacts(frozenset(), self._spec.sleep.weights_gib)
