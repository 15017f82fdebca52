"""A lane replica's engine that is there or not: orders, phases, and the routes meanwhile."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from router.swap.terms import RESTING, WAKE_WITHIN_S, Act, Phase
from serve_app.engine.sleeping.engine import EngineFacts, SleepyEngine
from serve_app.engine.sleeping.metrics import SleepMetrics
from serve_app.protocol.asgi import respond
from serve_app.transport.endpoint import OBSERVED_PATHS
from serve_app.watchdog.heartbeat import end_process

logger = logging.getLogger("ray.serve")

REST_WITHIN_S = 60.0
"""An engine that neither sleeps nor ends in this time holds its card: its replica ends."""

_ASLEEP = b'{"error":{"message":"the engine sleeps","code":"503"}}'


class EngineSwitch:
    """Carries out one order at a time, and serves the engine's routes while there are some.

    Args:
        in_flight: requests that are open; an engine with some does not rest.
        load_within_s: bound of one load; from host memory an engine wakes sooner.
        end: ends this process, so that Serve starts another one in its place.

    Attributes:
        phase: where the engine is; never `CLOSING`, of which the replica knows nothing.

    """

    def __init__(
        self,
        engine: SleepyEngine,
        *,
        lane: str,
        pool: str,
        in_flight: Callable[[], int],
        load_within_s: float,
        end: Callable[[], None] = end_process,
    ) -> None:
        self._engine, self._lane = engine, lane
        self._in_flight, self._load_within_s, self._end = in_flight, load_within_s, end
        self.phase = Phase.UNLOADED
        self.metrics = SleepMetrics(pool)
        self._app: ASGIApp | None = None
        self._facts = EngineFacts()
        self._doing: asyncio.Task[None] | None = None
        self._error = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the engine, or say that there is none that would answer."""
        is_observed = scope["path"] in OBSERVED_PATHS
        is_serving = self.phase in (Phase.AWAKE, Phase.WAKING) or is_observed
        if self._app is not None and is_serving:
            await self._app(scope, receive, send)
        elif is_observed:
            await respond(send, 200, b"", [(b"content-type", b"text/plain")])
        else:
            await respond(send, 503, _ASLEEP, [(b"content-type", b"application/json")])

    def row(self) -> dict[str, Any]:
        """Return what the pool's arbiter asks for."""
        cards = self._facts.cards
        return {
            "phase": self.phase.value,
            "cards": None if cards is None else sorted(cards),
            "weights_gib": self._facts.weights_gib,
            "error": self._error,
        }

    def obey(self, act: Act) -> dict[str, Any]:
        """Begin what is ordered, unless something is under way or it is done already.

        An engine with open requests stays awake when it is told to rest.
        """
        is_free = self._doing is None or self._doing.done()
        if is_free and act is Act.WAKE and self.phase in RESTING:
            self._begin(self._wake(self.phase), Phase.WAKING)
        is_done = self.phase is not Phase.AWAKE or self._in_flight()
        if is_free and act is not Act.WAKE and not is_done:
            self._begin(self._rest(act), Phase.FALLING)
        return self.row()

    def _begin(self, doing: Any, phase: Phase) -> None:
        self.phase, self._error = phase, ""
        self._doing = asyncio.create_task(doing, name="engine-switch")

    async def _wake(self, origin: Phase) -> None:
        begun, within_s = time.monotonic(), self._load_within_s
        if origin is Phase.ASLEEP:
            within_s = min(within_s, WAKE_WITHIN_S)
        try:
            async with asyncio.timeout(within_s):
                await self._bring(origin)
        except TimeoutError:
            logger.exception("lane '%s' did not wake in %g s", self._lane, within_s)
            self._end()
        except Exception as error:
            logger.exception("lane '%s' does not wake", self._lane)
            self._error = type(error).__name__
            self.metrics.failures.inc()
            await self._unload()
        else:
            seconds = time.monotonic() - begun
            self.phase = Phase.AWAKE
            self.metrics.awake.set(1)
            self.metrics.swaps.inc()
            self.metrics.wake_seconds.observe(seconds)
            logger.info("lane '%s' is awake after %.1f s (%s)", self._lane, seconds, origin.value)

    async def _bring(self, origin: Phase) -> None:
        if origin is Phase.ASLEEP:
            await self._engine.wake()
            return
        self._app = await self._engine.load()
        self._facts = await self._engine.facts()
        await self._engine.warm()

    async def _rest(self, act: Act) -> None:
        self.metrics.awake.set(0)
        begun = time.monotonic()
        if act is Act.SLEEP:
            try:
                async with asyncio.timeout(REST_WITHIN_S):
                    await self._engine.sleep()
                self.phase = Phase.ASLEEP
            except Exception:
                logger.exception("lane '%s' does not sleep; it is unloaded", self._lane)
        if self.phase is not Phase.ASLEEP:
            await self._unload()
        seconds = time.monotonic() - begun
        logger.info("lane '%s' is %s after %.1f s", self._lane, self.phase.value, seconds)

    async def _unload(self) -> None:
        self._app = None
        try:
            async with asyncio.timeout(REST_WITHIN_S):
                await self._engine.unload()
        except Exception:
            logger.exception("lane '%s' does not let its engine go", self._lane)
            self._end()
        self.phase = Phase.UNLOADED

    async def find_cards(self) -> frozenset[str]:
        """Return the engine's cards, as far as they are known."""
        return self._facts.cards or frozenset()

    def close(self) -> None:
        """Give up what is under way; the process is about to end."""
        if self._doing is not None:
            self._doing.cancel()
