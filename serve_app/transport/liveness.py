"""Silent engines: which are only slow, and which are given up.

A slow prefill keeps an engine silent, not the endpoint before it. So an endpoint is asked
for a sign of life. All requests that wait for one without any fail with `DeadEndpoint`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

from serve_app.config.serving import TimeoutConfig
from serve_app.transport.connection import Connection, DeadEndpoint, SilentConnection

SWEEP_S = 0.25


class Liveness:
    """Looks at the connections that are waited for, with one timer for all of them.

    Args:
        busy: connections with an answer under way.
        is_alive: asks the endpoint at a URL.

    """

    def __init__(
        self,
        busy: set[Connection],
        timeouts: TimeoutConfig,
        is_alive: Callable[[str], Awaitable[bool | None]],
    ) -> None:
        self.timeouts = timeouts
        self._busy = busy
        self._is_alive = is_alive
        self._probes: dict[str, asyncio.Task[None]] = {}
        self._alive_at: dict[str, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_stopped = False

    def watch(self) -> None:
        """Look again in `SWEEP_S`, and so on while anything is under way."""
        if self._timer is None and not self._is_stopped:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def stop(self) -> None:
        self._is_stopped = True
        if self._timer is not None:
            self._timer.cancel()
        for probe in self._probes.values():
            probe.cancel()

    def _sweep(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for connection in list(self._busy):
            if connection.is_waited_for:
                self._judge(connection, now)
        if self._busy:
            self.watch()
        else:
            self._alive_at.clear()

    def _judge(self, connection: Connection, now: float) -> None:
        silent_s, url = now - connection.heard_at, connection.url
        if silent_s > self.timeouts.read_s:
            connection.fail(SilentConnection())
        elif connection.is_flowing and silent_s > self.timeouts.stall_s:
            connection.fail(DeadEndpoint("the engine stalled"))
        elif silent_s > self.timeouts.probe_after_s and url not in self._probes:
            alive_at = self._alive_at.get(url, -math.inf)
            if now - alive_at > self.timeouts.probe_after_s:
                task = asyncio.get_running_loop().create_task(self._probe(url), name="probe")
                self._probes[url] = task
                task.add_done_callback(lambda _: self._probes.pop(url, None))

    async def _probe(self, url: str) -> None:
        begun = asyncio.get_running_loop().time()
        if await self._is_alive(url):
            self._alive_at[url] = begun
            return
        for connection in list(self._busy):
            is_silent = connection.is_waited_for and connection.heard_at <= begun
            if connection.url == url and is_silent:
                connection.fail(DeadEndpoint("no sign of life"))
