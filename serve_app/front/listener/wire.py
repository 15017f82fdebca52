"""One connection of the own listener: uvicorn's protocol, with the bounds that HAProxy has.

What a client may do without saying anything is bounded here, where no proxy does it: a header
that does not come, or is too long, and an answer that is not taken. `look` is called every
second by the listener; no request has a timer for it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from router.errors import Rejected, RejectReason
from serve_app.front.doorway import readable
from serve_app.protocol.errors import Dialect, error_body, error_headers

HEADER_WITHIN_S = 15.0
"""As HAProxy's `timeout http-request` (scripts/environment)."""

TAKEN_WITHIN_S = 120.0
"""As HAProxy's `timeout client`: how long a client may take nothing of an answer."""

MAX_HEADER_BYTES = 65_536
"""As HAProxy's buffer. From 16 KiB on a whole header is refused by `protocol.http_rules`."""

LINGER_S = 5.0
"""How long after a refusal a client may go on sending."""

TOLD_AT_ONCE = 256
"""Connections over the most that are told so; others end without a word."""

NOT_HTTP = Rejected(RejectReason.INVALID_REQUEST, "This is no request that HTTP knows.")
TOO_LONG = Rejected(
    RejectReason.INVALID_REQUEST, f"URL and headers may have {MAX_HEADER_BYTES} bytes."
)
TOO_SLOW = Rejected(
    RejectReason.INVALID_REQUEST, f"The header did not come within {HEADER_WITHIN_S:.0f} s."
)
FULL = Rejected(RejectReason.NO_REPLICA, "Too many connections are open here.", retry_after_s=1)


class Wire(HttpToolsProtocol):
    """One client's connection."""

    most = 4096
    """Connections of one listener, as HAProxy's `maxconn`: the next one is told so."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._served: ASGIApp = self.app
        self.app = self._run
        self._task: asyncio.Task[Any] | None = None
        self._running: RequestResponseCycle | None = None
        # When the header that is under way, or the first one, has to be there.
        self._header_by: float | None = None
        self._header_bytes = 0
        self._has_begun = False
        # Its last word was said: until then, what still comes is dropped.
        self._lingers_by: float | None = None
        self._unsent = 0
        self._stuck_since: float | None = None

    # -- from the event loop ------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._header_by = self.loop.time() + HEADER_WITHIN_S
        if len(self.connections) > self.most + TOLD_AT_ONCE:
            transport.abort()
        elif len(self.connections) > self.most:
            self._refuse(503, FULL)

    def data_received(self, data: bytes) -> None:
        if self._lingers_by is not None:
            return
        was_in_header = self._header_by is not None
        super().data_received(data)
        if self._header_by is None:
            if self._is_idle and self.timeout_keep_alive_task is None:
                # An empty line, say: no request has begun, and no timer runs any more.
                self._header_by = self.loop.time() + HEADER_WITHIN_S
        elif was_in_header:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse(431, TOO_LONG)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        running, task = self._running, self._task
        if running is None or running.response_complete:
            return
        # As Serve does it: a request whose client has left is cancelled, wherever it stands.
        running.disconnected = True
        running.message_event.set()
        if task is not None:
            task.cancel()

    # -- from the parser ------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._has_begun = True
        if self._header_by is None:
            self._header_by = self.loop.time() + HEADER_WITHIN_S
        self._header_bytes = 0

    def on_headers_complete(self) -> None:
        self._header_by, self._has_begun = None, False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Called where the parser gives up."""
        del msg
        self._refuse(400, NOT_HTTP)

    # -- from the listener ----------------------------------------------------------------

    def look(self, now: float) -> None:
        """End the connection where its client takes too long. `now`: of the loop's clock."""
        if self._header_by is not None and now >= self._header_by and self._is_idle:
            # Who has said nothing at all is waiting for nothing.
            self._refuse(408, TOO_SLOW) if self._has_begun else self.transport.close()
        if self._lingers_by is not None and now >= self._lingers_by:
            self.transport.abort()
        unsent = self.transport.get_write_buffer_size()
        if not unsent:
            self._stuck_since = None
        elif self._stuck_since is None or unsent < self._unsent:
            self._stuck_since = now
        elif now - self._stuck_since >= TAKEN_WITHIN_S:
            self.transport.abort()
        self._unsent = unsent

    # -- requests ---------------------------------------------------------------------------

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Of several that were sent at once, `self.cycle` is the last.
        cycle: RequestResponseCycle = send.__self__  # type: ignore[attr-defined]
        scope["headers"] = readable(scope["headers"])
        # Serve's own middleware echoes it.
        cycle.default_headers = [*cycle.default_headers, scope["headers"][-1]]
        self._running, self._task = cycle, asyncio.current_task()
        try:
            await self._served(scope, receive, send)
        except asyncio.CancelledError:
            if not cycle.disconnected:
                raise
        finally:
            self._task = None

    def _refuse(self, status: int, refused: Rejected) -> None:
        """Say so and hang up; inside an answer only the latter."""
        self._header_by = None
        if self._is_idle and not self.transport.is_closing():
            body = error_body(refused, Dialect.OPENAI, status=status)
            lines = [
                *self.server_state.default_headers,
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
                (b"connection", b"close"),
                *error_headers(refused),
            ]
            head = b"".join(b"%b: %b\r\n" % line for line in lines)
            self.transport.write(STATUS_LINE[status] + head + b"\r\n" + body)
            # A connection that is closed on unread bytes takes the answer with it.
            self._lingers_by = self.loop.time() + LINGER_S
            self.transport.write_eof()
            return
        self.transport.close()
