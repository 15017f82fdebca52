"""One connection of the own listener: HTTP/1.1 (RFC 9112), with the bounds that HAProxy has.

The parser is httptools'. A request that is whole in its head becomes an `Exchange`; the first of
them runs, those that were sent after it wait in line. What a client may do without saying anything
is bounded here, where no proxy does it: a header that does not come, or is too long, and an
answer that is not taken. `look` is called every second by the listener; no request has a timer.
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from typing import Any, cast

import httptools
from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.protocols.utils import get_local_addr, get_remote_addr
from uvicorn.server import ServerState

from serve_app.front.listener.answer_head import block
from serve_app.front.listener.departure import has_left
from serve_app.front.listener.exchange import Exchange
from serve_app.front.listener.refusals import (
    FULL,
    HEADER_WITHIN_S,
    MAX_HEADER_BYTES,
    NOT_HTTP,
    TOO_LONG,
    TOO_SLOW,
    Refusal,
    Refused,
    told,
)
from serve_app.front.listener.request_head import Ends, RequestHead

TAKEN_WITHIN_S = 120.0
"""As HAProxy's `timeout client`: how long a client may take nothing of an answer."""

LINGER_S = 5.0
"""How long after a refusal a client may go on sending."""

TOLD_AT_ONCE = 256
"""Connections over the most that are told so; others end without a word."""

UNREAD_BYTES = 65_536
"""Of a body, or of requests that wait for others: when there is more, no more is read."""

SLICE_BYTES = 4096
"""What is parsed at once: the parser cannot be told to wait."""

IN_LINE = 8
"""Requests of one connection that are parsed and wait. More may be in the last slice."""


class Phase(enum.Enum):
    """Where the parser stands."""

    BETWEEN = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()


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
        # Reading.
        self._parser: Any = httptools.HttpRequestParser(self)
        self._phase = Phase.BETWEEN
        self._request = RequestHead()
        self._reading: Exchange | None = None
        self._is_reread = False
        self._unfed = bytearray()
        self._is_paused = False
        # Nothing more is taken: the last request is here, or a refusal is.
        self._is_deaf = False
        # Bytes since something came of them.
        self._idle_bytes = 0
        self._has_moved = False
        # Answering: the first of them runs.
        self._line: deque[Exchange] = deque()
        self._refusal: Refusal | None = None
        self._socket: bytes | None = None
        self.is_full = self._is_stopping = False
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
        if self._is_deaf:
            return
        if self._is_kept:
            self._is_kept, self._by = False, self.loop.time() + HEADER_WITHIN_S
        if self._unfed:
            self._unfed += data
        else:
            self._feed(data)
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
        self._is_deaf = True
        # As Serve does it: a request whose client has left is cancelled, wherever it stands.
        for exchange in self._line:
            exchange.leave()
        self._line.clear()
        self._parser, self._reading = None, None
        self.resume_writing()

    # -- reading --------------------------------------------------------------------------

    def _feed(self, data: bytes) -> None:
        at = 0
        while at < len(data) and not self._is_deaf:
            if len(self._line) > IN_LINE:
                self._unfed += data[at:]
                return
            piece = data[at : at + SLICE_BYTES]
            self._has_moved = False
            at += self._parse(piece)
            if self._socket is not None:
                self._socket += data[at:]
                return
            self._idle_bytes = 0 if self._has_moved else self._idle_bytes + len(piece)
            if self._idle_bytes > MAX_HEADER_BYTES:
                self._give_up(TOO_LONG)

    def _parse(self, piece: bytes) -> int:
        """Let the parser read; return how much of it was read."""
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade()
            return int(upgrade.args[0])
        except httptools.HttpParserError as error:
            if not self._is_deaf:
                cause = error.__context__
                self._give_up(cause.refusal if isinstance(cause, Refused) else NOT_HTTP)
        return len(piece)

    def _upgrade(self) -> None:
        request = self._request
        if self._is_deaf:
            return
        if self._reading is None:
            self._is_deaf, self._socket = True, request.raw()
            if not self._line:
                self.loop.call_soon(self._hand_over)
            return
        # Nothing else than HTTP is spoken: what follows is read as if nobody had asked.
        self._parser = httptools.HttpRequestParser(self)
        self._is_reread = True
        self._parser.feed_data(request.without_upgrade())

    def _hand_over(self) -> None:
        """Let uvicorn's protocol of WebSockets have the connection."""
        if self._socket is None or self.transport.is_closing():
            return
        self.connections.discard(self)
        maker: Any = self._config.ws_protocol_class
        protocol = maker(config=self._config, server_state=self._state, app_state=self._app_state)
        protocol.connection_made(self.transport)
        self.transport.set_protocol(protocol)
        protocol.data_received(self._socket)
        self._resume()

    def _pace(self) -> None:
        """Read no more than is taken."""
        reading = self._reading
        unread = len(self._unfed) + (0 if reading is None else reading.unread)
        if unread <= UNREAD_BYTES:
            self._resume()
        elif not self._is_paused:
            self._is_paused = True
            self.transport.pause_reading()

    def _resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self.transport.resume_reading()

    # -- from the parser --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._has_moved = True
        if self._is_reread:
            return
        self._phase, self._request = Phase.HEAD, RequestHead()
        if self._by is None:
            self._by = self.loop.time() + HEADER_WITHIN_S

    def on_url(self, url: bytes) -> None:
        if not self._is_reread:
            self._request.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        # Not what follows a body in chunks: it would pass for what came before.
        if self._phase is Phase.HEAD:
            self._request.lines.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._has_moved = True
        if self._is_reread:
            self._is_reread = False
            return
        parser, request = self._parser, self._request
        request.read(parser.get_method(), parser.get_http_version())
        self._phase, self._by, self._reading = Phase.BODY, None, None
        if request.asks_for_socket and self._config.ws_protocol_class is not None:
            return
        scope = request.scope(self._ends, self._config.root_path, self._app_state.copy())
        keeps_alive = not request.is_last and parser.should_keep_alive()
        self._reading = exchange = Exchange(
            self, scope, keeps_alive=keeps_alive, expects=request.expects
        )
        self._line.append(exchange)
        if len(self._line) == 1:
            exchange.start(self._app)

    def on_body(self, body: bytes) -> None:
        self._has_moved = True
        if self._reading is not None:
            self._reading.take(body)

    def on_message_complete(self) -> None:
        self._has_moved = True
        exchange = self._reading
        if exchange is None or self._parser.should_upgrade():
            return
        exchange.take_end()
        self._phase = Phase.BETWEEN
        if not exchange.keeps_alive:
            self._is_deaf = True
        elif not self._line:
            self._keep()

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
        if self._unfed:
            data = bytes(self._unfed)
            self._unfed.clear()
            self._feed(data)
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
        elif self._phase is Phase.BETWEEN:
            self._is_kept, self._by = True, self.loop.time() + self._config.timeout_keep_alive
        elif self._phase is Phase.BODY:
            # Of a request that was answered before it was whole.
            self._by = self.loop.time() + HEADER_WITHIN_S

    # -- the end ------------------------------------------------------------------------------

    def _give_up(self, refusal: Refusal) -> None:
        """Read nothing more, and say why as soon as the requests before were answered."""
        self._is_deaf = True
        self._unfed.clear()
        reading = self._reading
        if self._phase is Phase.BODY and reading is not None:
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
        self._is_deaf, self._by = True, None
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
            self._give_up(TOO_SLOW) if self._phase is Phase.HEAD else self.transport.close()
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
