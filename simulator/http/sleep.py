"""vLLM's sleep mode around a simulated engine: `/sleep`, `/wake_up`, `/is_sleeping`.

vLLM has these routes with VLLM_SERVER_DEV_MODE=1 (0.29.0:
`entrypoints/serve/dev/sleep/api_router.py`). What costs time here are its copies.
"""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs

import orjson

from simulator.http.app import Scope, SimulatedEngineApp
from simulator.http.delivery import Send, respond
from simulator.http.reading import Receive
from simulator.model.profile import SleepCosts

ASLEEP_STILL = frozenset({"/metrics", "/health", "/ping", "/version", "/v1/models"})
"""What the front end answers while the engine sleeps."""


class SleepingEngineApp:
    """A simulated engine that can sleep.

    Requests that come while it sleeps wait until it wakes, as vLLM's do. Those that are open
    when it is told to sleep end first, as in vLLM's mode `wait`; its own default aborts them.
    """

    def __init__(self, app: SimulatedEngineApp, costs: SleepCosts) -> None:
        self._app, self._costs = app, costs
        self._level = 0
        self._open = 0
        self._awake, self._idle = asyncio.Event(), asyncio.Event()
        self._awake.set()
        self._idle.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].rstrip("/")
        if path == "/is_sleeping":
            await respond(send, 200, orjson.dumps({"is_sleeping": self.is_sleeping}))
        elif path == "/sleep" and scope["method"] == "POST":
            given = parse_qs(scope.get("query_string", b"").decode("latin-1"))
            await self.sleep(int(given.get("level", ["1"])[0]))
            await respond(send, 200, b"")
        elif path == "/wake_up" and scope["method"] == "POST":
            await self.wake_up()
            await respond(send, 200, b"")
        elif path in ASLEEP_STILL:
            await self._app(scope, receive, send)
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._awake.wait()
        self._open += 1
        self._idle.clear()
        try:
            await self._app(scope, receive, send)
        finally:
            self._open -= 1
            if not self._open:
                self._idle.set()

    @property
    def is_sleeping(self) -> bool:
        return self._level > 0

    async def sleep(self, level: int = 1) -> None:
        """Fall asleep: 1 keeps the weights in host memory, 2 drops them."""
        self._level = max(1, level)
        self._awake.clear()
        await self._idle.wait()
        await asyncio.sleep(self._costs.sleep_s)

    async def wake_up(self) -> None:
        """Wake; weights that were dropped are read again."""
        if self.is_sleeping:
            reads = self._costs.reload_s if self._level > 1 else 0.0
            await asyncio.sleep(self._costs.wake_s + reads)
            self._level = 0
            self._awake.set()
