"""A connection's bytes as requests: httptools' parser, and what it may be given.

The parser reads all that it is fed and cannot be told to wait. So it is fed in slices, and none
while enough requests wait in line.
"""

from __future__ import annotations

import enum
import logging
from typing import Any, Protocol

import httptools

from serve_app.front.listener.exchange import Exchange
from serve_app.front.listener.refusals import (
    MAX_HEADER_BYTES,
    NOT_HTTP,
    TOO_LONG,
    Refusal,
    Refused,
)
from serve_app.front.listener.request_head import RequestHead

logger = logging.getLogger("ray.serve")

SLICE_BYTES = 4096

_NO_URL = (httptools.HttpParserInvalidURLError, ValueError)


class Phase(enum.Enum):
    """Where the parser stands."""

    BETWEEN = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()


class Owner(Protocol):
    """The connection, as its reader sees it."""

    def has_room(self) -> bool:
        """Return whether one more request may wait in line."""

    def await_head(self) -> None:
        """A request has begun: its head has its time."""

    def take(self, request: RequestHead, *, keeps_alive: bool) -> Exchange | None:
        """Take a whole head; None: of what wants to be a WebSocket. Raises Refused, ValueError."""

    def take_end(self, exchange: Exchange) -> None:
        """Take the end of a request."""

    def take_socket(self, begun: bytes) -> None:
        """Take what another protocol is to read."""

    def give_up(self, refusal: Refusal) -> None:
        """Read nothing more."""


class Reader:
    """Reads one connection.

    Attributes:
        exchange: the request that is being read, or was the last; None: it has no body here.
        is_deaf: nothing more is taken: the last request is here, or a refusal is.

    """

    def __init__(self, owner: Owner) -> None:
        # Until the connection's end these three know each other.
        self._owner: Any = owner
        self._parser: Any = httptools.HttpRequestParser(self)
        self.phase = Phase.BETWEEN
        self._request = RequestHead()
        self._lines = self._request.lines
        self.exchange: Exchange | None = None
        self.is_deaf = False
        self._unfed = bytearray()
        self._is_reread = False
        # Of a body with a length, what has not come.
        self._left = 0
        # Bytes since something came of them.
        self._idle_bytes = 0
        self._has_moved = False

    @property
    def unread(self) -> int:
        """Bytes that wait here for the parser, or for the application."""
        return len(self._unfed) + (0 if self.exchange is None else self.exchange.unread)

    def read(self, data: bytes) -> None:
        if self._unfed:
            self._unfed += data
        else:
            self._feed(data)

    def read_rest(self) -> None:
        """Go on with what has waited for a place in the line."""
        if self._unfed:
            data = bytes(self._unfed)
            self._unfed.clear()
            self._feed(data)

    def stop(self) -> None:
        """Read nothing more."""
        self.is_deaf = True
        self._unfed.clear()

    def close(self) -> None:
        """Forget the connection, which is lost."""
        self.stop()
        self._owner = self._parser = self.exchange = None

    def _feed(self, data: bytes) -> None:
        at = 0
        while at < len(data) and not self.is_deaf:
            if not self._owner.has_room():
                self._unfed += data[at:]
                return
            # The rest of a body has no requests in it.
            piece = data[at : at + max(SLICE_BYTES, self._left)]
            self._has_moved = False
            at += self._parse(piece, data, at)
            self._idle_bytes = 0 if self._has_moved else self._idle_bytes + len(piece)
            if self._idle_bytes > MAX_HEADER_BYTES:
                self._owner.give_up(TOO_LONG)

    def _parse(self, piece: bytes, data: bytes, at: int) -> int:
        """Let the parser read a piece of the data; return how much of it was read."""
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            read = int(upgrade.args[0])
            if not self.is_deaf:
                self._upgrade(data[at + read :])
            return read
        except httptools.HttpParserError as error:
            if not self.is_deaf:
                self._owner.give_up(_refusal_of(error.__context__))
        return len(piece)

    def _upgrade(self, rest: bytes) -> None:
        if self.exchange is None:
            self.stop()
            self._owner.take_socket(self._request.raw() + rest)
            return
        # Nothing else than HTTP is spoken: what follows is read as if nobody had asked.
        self._parser = httptools.HttpRequestParser(self)
        self._is_reread, self._lines = True, []
        self._parser.feed_data(self._request.without_upgrade())

    # -- from the parser --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._has_moved = True
        if not self._is_reread:
            self.phase, self._request = Phase.HEAD, RequestHead()
            self._lines = self._request.lines
            self._owner.await_head()

    def on_url(self, url: bytes) -> None:
        if not self._is_reread:
            self._request.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._lines.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._has_moved = True
        # What follows a body in chunks is not kept: it would pass for what came before.
        self._lines = []
        if self._is_reread:
            self._is_reread = False
            return
        self.phase, self.exchange = Phase.BODY, None
        parser, request = self._parser, self._request
        request.read(parser.get_method(), parser.get_http_version())
        keeps_alive = parser.should_keep_alive() and not request.is_last
        self.exchange = self._owner.take(request, keeps_alive=keeps_alive)
        self._left = request.length

    def on_body(self, body: bytes) -> None:
        self._has_moved = True
        self._left -= len(body)
        if self.exchange is not None:
            self.exchange.take(body)

    def on_message_complete(self) -> None:
        self._has_moved = True
        exchange = self.exchange
        if exchange is None or self._parser.should_upgrade():
            # What comes after it is looked at first.
            return
        exchange.take_end()
        self.phase, self._left = Phase.BETWEEN, 0
        self._owner.take_end(exchange)


def _refusal_of(cause: BaseException | None) -> Refusal:
    """Say why the parser stopped; `cause`: what was raised where it told of something."""
    if isinstance(cause, Refused):
        return cause.refusal
    if cause is not None and not isinstance(cause, _NO_URL):
        logger.error("a connection could not be read", exc_info=cause)
    return NOT_HTTP
