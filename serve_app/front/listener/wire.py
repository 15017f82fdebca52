"""One connection of the own listener: HTTP/1.1 (RFC 9112), with the bounds that HAProxy has.

`Reader` makes requests of what comes, each is an `Exchange`: the first of the line runs, those that
were sent after it wait. What a client may do without saying anything is bounded here, where
no proxy does it: a header that does not come, or is too long, and an answer that is not taken.
`look` is called every second by the listener; no request has a timer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, cast

from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.protocols.utils import get_local_addr, get_remote_addr
from uvicorn.server import ServerState

from serve_app.front.listener.answer_head import block
from serve_app.front.listener.departure import has_left
from serve_app.front.listener.exchange import Exchange
from serve_app.front.listener.reader import Phase, Reader
from serve_app.front.listener.refusals import FULL, HEADER_WITHIN_S, TOO_SLOW, Refusal, told
from serve_app.front.listener.request_head import Ends, RequestHead
from serve_app.relay.pump.choice import twin

TAKEN_WITHIN_S = 120.0
"""As HAProxy's `timeout client`: how long a client may take nothing of an answer."""

LINGER_S = 5.0
"""How long after a refusal a client may go on sending."""

TOLD_AT_ONCE = 256
"""Connections over the most that are told so; others end without a word."""

UNREAD_BYTES = 65_536
"""Of a body, or of requests that wait for others: when there is more, no more is read."""

IN_LINE = 8
"""Requests of one connection that wait for the first. More may be in the slice that is parsed."""


class Wire(asyncio.Protocol):
    """One client's connection."""

    most = 4096
    """Connections of one listener, as HAProxy's `maxconn`: the next one is told so."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if not config.loaded:
            config.load()
        self._config, self._state, self._app_state = config, server_state, app_state
        self._app = cast("ASGIApp", config.loaded_app)
        self.loop = _loop or asyncio.get_running_loop()
        self.connections: set[Any] = server_state.connections
        self.tasks = server_state.tasks
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self._ends = Ends(None, None)
        self._reader = Reader(self)
        self._is_paused = False
        # Answering: the first of them runs.
        self._line: deque[Exchange] = deque()
        self._refusal: Refusal | None = None
        self._socket: bytes | None = None
        self.is_full = self._is_stopping = False
        self.chunks = twin().Chunks
        self._drains: list[asyncio.Future[None]] = []
        # Until when something has to come, where no answer is under way; kept: between two.
        self._by: float | None = None
        self._is_kept = False
        self._lingers_by: float | None = None
        self._unsent = 0
        self._stuck_since: float | None = None

    # -- from the event loop ------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is no asyncio.Transport by class.
        self.transport = cast("asyncio.Transport", transport)
        self._ends = Ends(get_local_addr(self.transport), get_remote_addr(self.transport))
        self._by = self.loop.time() + HEADER_WITHIN_S
        self.connections.add(self)
        if len(self.connections) > self.most + TOLD_AT_ONCE:
            self.transport.abort()
        elif len(self.connections) > self.most:
            self._refuse(FULL)

    def data_received(self, data: bytes) -> None:
        if self._reader.is_deaf:
            return
        if self._is_kept:
            self._is_kept, self._by = False, self.loop.time() + HEADER_WITHIN_S
        self._reader.read(data)
        self._pace()

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        drains, self._drains = self._drains, []
        for drain in drains:
            if not drain.done():
                drain.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.connections.discard(self)
        # As Serve does it: a request whose client has left is cancelled, wherever it stands.
        for exchange in self._line:
            exchange.leave()
        self._line.clear()
        self._reader.close()
        self.resume_writing()

    # -- from the reader ------------------------------------------------------------------

    def has_room(self) -> bool:
        return len(self._line) <= IN_LINE

    def await_head(self) -> None:
        if self._by is None:
            self._by = self.loop.time() + HEADER_WITHIN_S

    def take(self, request: RequestHead, *, keeps_alive: bool) -> Exchange | None:
        """Take a request whose head is whole. Raises ValueError, HttpParserInvalidURLError."""
        self._by = None
        if request.asks_for_socket and self._config.ws_protocol_class is not None:
            return None
        scope = request.scope(self._ends, self._config.root_path, self._app_state.copy())
        exchange = Exchange(self, scope, keeps_alive=keeps_alive, expects=request.expects)
        self._line.append(exchange)
        if len(self._line) == 1:
            exchange.start(self._app)
        return exchange

    def take_end(self, exchange: Exchange) -> None:
        """Take note that a request is whole."""
        if not exchange.keeps_alive:
            self._reader.stop()
        elif not self._line:
            self._keep()

    def take_socket(self, begun: bytes) -> None:
        """Hand the connection over as soon as the requests before were answered."""
        self._socket = begun
        if not self._line:
            self._hand_over()

    def _hand_over(self) -> None:
        """Let uvicorn's protocol of WebSockets have the connection."""
        if self._socket is None or self.transport.is_closing():
            return
        self.connections.discard(self)
        self._reader.close()
        maker: Any = self._config.ws_protocol_class
        protocol = maker(config=self._config, server_state=self._state, app_state=self._app_state)
        protocol.connection_made(self.transport)
        self.transport.set_protocol(protocol)
        protocol.data_received(self._socket)
        self._resume()

    def _pace(self) -> None:
        """Read no more than is taken."""
        if self._reader.unread <= UNREAD_BYTES:
            self._resume()
        elif not self._is_paused:
            self._is_paused = True
            self.transport.pause_reading()

    def _resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self.transport.resume_reading()

    # -- answering ----------------------------------------------------------------------------

    def before(self) -> bytes:
        return block(tuple(self._state.default_headers))

    def drained(self) -> asyncio.Future[None]:
        drain: asyncio.Future[None] = self.loop.create_future()
        self._drains.append(drain)
        return drain

    def may_go_on(self) -> bool:
        """Return whether the connection stays when the answer that begins now is whole."""
        return not self._is_stopping or len(self._line) > 1

    def read_more(self) -> None:
        if self._is_paused:
            self._pace()

    def end(self, exchange: Exchange) -> None:
        """Go on: this one's answer is whole."""
        self._state.total_requests += 1
        if self.transport.is_closing() or not self._line:
            return
        self._line.popleft()
        if not exchange.keeps_alive:
            # Others in the line are dropped: the client was told that it was the last.
            self.transport.close()
            return
        if self._line:
            self._line[0].start(self._app)
        if self._reader.unread:
            self._reader.read_rest()
        if self._is_paused:
            self._pace()
        if not self._line:
            self._keep()

    def _keep(self) -> None:
        """Every request was answered: wait for the next, or do what waited for that."""
        if self._refusal is not None:
            self._refuse(self._refusal)
        elif self._socket is not None:
            self._hand_over()
        elif self._is_stopping:
            self.transport.close()
        elif self._reader.phase is Phase.BETWEEN:
            self._is_kept, self._by = True, self.loop.time() + self._config.timeout_keep_alive
        elif self._reader.phase is Phase.BODY:
            # Of a request that was answered before it was whole.
            self._by = self.loop.time() + HEADER_WITHIN_S

    # -- the end ------------------------------------------------------------------------------

    def give_up(self, refusal: Refusal) -> None:
        """Read nothing more, and say why as soon as the requests before were answered."""
        self._reader.stop()
        reading = self._reader.exchange
        if self._reader.phase is Phase.BODY and reading is not None:
            was_answered = reading.has_begun
            reading.leave()
            if self._line and self._line[-1] is reading:
                self._line.pop()
            if was_answered:
                self.transport.close()
                return
        self._refusal = refusal
        if not self._line:
            self._refuse(refusal)

    def _refuse(self, refusal: Refusal) -> None:
        self._reader.stop()
        self._by = None
        if self.transport.is_closing():
            return
        self.transport.write(told(refusal, self.before()))
        # A connection that is closed on unread bytes takes the answer with it.
        self._lingers_by = self.loop.time() + LINGER_S
        self.transport.write_eof()

    def shutdown(self) -> None:
        """Called by the server at its end: answer what is open, take nothing more."""
        self._is_stopping = True
        if not self._line:
            self.transport.close()

    # -- from the listener ----------------------------------------------------------------------

    def look(self, now: float) -> None:
        """End the connection where its client takes too long. `now`: of the loop's clock."""
        if self._by is not None and now >= self._by and not self._line:
            # Who has said nothing at all is waiting for nothing.
            self.give_up(TOO_SLOW) if self._reader.phase is Phase.HEAD else self.transport.close()
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
        if self._is_paused and has_left(self.transport):
            # Nobody reads there, so nobody hears of it.
            self.transport.abort()
