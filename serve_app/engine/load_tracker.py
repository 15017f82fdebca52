"""What a lane replica knows of its turns, and publishes with its load.

The ingress names itself, the group and, for a session away from home, the session and
the number of its last move, in one internal header: `INGRESS GROUP [SESSION NUMBER]`.
Group and session are hashes. The endpoint's guard has checked the deployment's secret
before this is read. Bounds: `max_spilled` sessions and 1,024 groups are remembered; published
are the spilled sessions and at most 64 groups, 20 KB with the defaults.
"""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Receive, Scope, Send

from router.placement.open_turns import OpenTurns
from router.placement.placement import Report
from serve_app.config.serving import AffinityConfig
from serve_app.placement.turn_placement import TURN_HEADER

_HEADER = TURN_HEADER.encode()


class LoadTracker:
    """ASGI middleware: counts open turns by ingress and group, and keeps the spilled sessions."""

    def __init__(self, app: ASGIApp, config: AffinityConfig) -> None:
        self._app = app
        self._turns = OpenTurns(config.max_spilled, config.warm_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; one without the header is not a turn."""
        turn = _read(scope)
        if turn is None:
            await self._app(scope, receive, send)
            return
        ingress, group, spilled = turn
        self._turns.begin(ingress, group, spilled, now=time.monotonic())
        try:
            await self._app(scope, receive, send)
        finally:
            self._turns.end(ingress, group, now=time.monotonic())

    def report(self, kv_utilization: float, *, draining: bool = False) -> Report:
        """What is published now. It does not change while nothing happens."""
        return self._turns.report(kv_utilization, now=time.monotonic(), draining=draining)


def _read(scope: Scope) -> tuple[str, str, tuple[str, int] | None] | None:
    if scope["type"] != "http":
        return None
    given = next((value for name, value in scope["headers"] if name == _HEADER), None)
    if given is None:
        return None
    words = given.decode("latin-1").split(" ")
    if len(words) == 4 and words[3].isdecimal():
        return words[0], words[1], (words[2], int(words[3]))
    return (words[0], words[1], None) if len(words) == 2 else None
