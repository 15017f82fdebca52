"""One request of a connection and its answer: the ASGI side.

Bodies go out in two ways. `send` is ASGI's. `write` is the scope's extension `pointsman.write`
(`protocol/asgi.py`): a piece of a body that goes on, without a message and without a coroutine.
Both meet in `_put_body`, but for a stream's piece that has nothing in its way.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

from starlette.types import ASGIApp, Message, Scope

from serve_app.front.listener.answer_head import AnswerHead, Framing, answer_head
from serve_app.protocol.asgi import WRITE
from serve_app.protocol.chunks import LAST_CHUNK, Chunks, Drain, chunk
from serve_app.protocol.errors import Dialect, internal_error

logger = logging.getLogger("ray.serve")

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
JOINED_BYTES = 65_536
"""A longer body is not copied to stand behind its head in one piece."""


class Line(Drain, Protocol):
    """The connection, as an exchange sees it.

    Attributes:
        chunks: what writes pieces of bodies.

    """

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    tasks: set[asyncio.Task[Any]]
    chunks: type[Chunks]

    def may_go_on(self) -> bool:
        """Return whether another answer may follow the one that begins."""

    def before(self) -> bytes:
        """Return the header lines of every answer."""

    def read_more(self) -> None:
        """Take note that some of a body was read."""

    def end(self, exchange: Exchange) -> None:
        """Go on: this one's answer is whole."""


class Exchange:
    """A request and its answer.

    Attributes:
        keeps_alive: another request may follow.
        has_begun: some of the answer was given, or is about to be.
        is_whole: all of it was.
        is_gone: nobody is there for it any more.
        unread: bytes of the request's body that the application has not read.

    """

    # What most requests leave as it is.
    has_begun = is_whole = is_gone = False
    unread = 0
    _has_more, _is_told_end, _is_running = True, False, False
    _news: asyncio.Event | None = None
    _task: asyncio.Task[None] | None = None
    # The head waits for the first of the body, until the event loop's next turn.
    _head = b""
    _flush: asyncio.Handle | None = None
    _framing, _left = Framing.NONE, 0

    def __init__(self, line: Line, scope: Scope, *, keeps_alive: bool, expects: bool) -> None:
        self._line, self._transport, self.scope = line, line.transport, scope
        self.keeps_alive, self._expects = keeps_alive, expects
        self._parts: list[bytes] = []
        self._chunks = line.chunks(line, line.transport.write, self._write_apart)
        scope["extensions"] = {WRITE: self._chunks.write}

    # -- from the connection -------------------------------------------------------------

    def start(self, app: ASGIApp) -> None:
        self._task = self._line.loop.create_task(self._run(app))
        self._line.tasks.add(self._task)

    def take(self, part: bytes) -> None:
        """Take some of the request's body."""
        if self.is_whole or self.is_gone:
            return
        self._parts.append(part)
        self.unread += len(part)
        self._wake()

    def take_end(self) -> None:
        self._has_more = False
        self._wake()

    def leave(self) -> None:
        """Nobody is there any more: a request whose answer is not whole is cancelled."""
        if self.is_whole or self.is_gone:
            return
        self.is_gone, self._chunks.streams = True, False
        self._drop_head()
        self._wake()
        if self._task is not None:
            self._task.cancel()
            if not self._is_running:
                # It ends without a step of its own, and what ended it holds its frame.
                self._line.tasks.discard(self._task)
                self._task = None
        if not self._is_running:
            self._forget()

    def _forget(self) -> None:
        # The scope knows `write`, and that knows this: nothing is left to the collector of cycles.
        self.scope.pop("extensions", None)
        self._chunks.close(_let_go if self.is_gone else _refuse)

    # -- the task ------------------------------------------------------------------------

    async def _run(self, app: ASGIApp) -> None:
        self._is_running = True
        try:
            await app(self.scope, self.receive, self.send)
            if not (self.is_whole or self.is_gone):
                logger.error("a request was left without its whole answer")
                self._fail()
        except asyncio.CancelledError:
            if not self.is_gone:
                self._transport.close()
                raise
        except Exception:
            logger.exception("a request failed")
            self._fail()
        finally:
            if self._task is not None:
                self._line.tasks.discard(self._task)
            self._forget()

    def _fail(self) -> None:
        """Answer what nobody has answered; end what nobody will end."""
        if self.is_whole or self.is_gone:
            return
        if self.has_begun:
            self._transport.close()
            return
        body = internal_error(Dialect.OPENAI)
        length = (b"content-length", b"%d" % len(body))
        kind = (b"content-type", b"application/json")
        self._begin(500, [kind, length, (b"connection", b"close")])
        self._put_body(body, goes_on=False)

    # -- ASGI ----------------------------------------------------------------------------

    async def receive(self) -> Message:
        """Return the next of the request's body, or that the client has left or was answered."""
        if self._expects and not self.has_begun and not self.is_gone:
            self._expects = False
            self._transport.write(CONTINUE)
        while not (self.is_gone or self.is_whole):
            if self._parts or not (self._has_more or self._is_told_end):
                return self._next()
            if self._news is None:
                self._news = asyncio.Event()
            self._news.clear()
            await self._news.wait()
        return {"type": "http.disconnect"}

    def _next(self) -> Message:
        parts = self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._parts, self.unread = [], 0
        self._is_told_end = not self._has_more
        if self._has_more:
            self._line.read_more()
        return {"type": "http.request", "body": body, "more_body": self._has_more}

    async def send(self, message: Message) -> None:
        """Send as ASGI has it; waits while the client does not read. Raises RuntimeError."""
        if self._line.is_full and not self.is_gone:
            await self._line.drained()
        if self.is_gone:
            return
        kind = message["type"]
        if self._chunks.streams and message.get("more_body") and kind == "http.response.body":
            self._chunks.write(message.get("body", b""))
        elif not self.has_begun:
            if kind != "http.response.start":
                raise RuntimeError(f"an answer begins with its head, not with {kind!r}")
            self._begin(message["status"], message.get("headers", ()))
        elif kind == "http.response.body":
            self._put_body(message.get("body", b""), goes_on=message.get("more_body", False))
        else:
            raise RuntimeError(f"an answer that has begun takes no {kind!r}")

    def _write_apart(self, data: bytes) -> None:
        """Take a piece of a body that goes on, which is no chunk or has something before it."""
        if not self.is_gone:
            self._put_body(data, goes_on=True)

    # -- the answer ----------------------------------------------------------------------

    def _begin(self, status: int, lines: Any) -> None:
        head: AnswerHead = answer_head(
            status,
            lines,
            # Serve's own middleware echoes the request's id.
            self._line.before() + b"x-request-id: %b\r\n" % self.scope["headers"][-1][1],
            is_head=self.scope["method"] == "HEAD",
            keeps_alive=self.keeps_alive and self._line.may_go_on(),
            takes_chunks=self.scope["http_version"] != "1.0",
        )
        self.has_begun = True
        self.keeps_alive = not head.closes
        self._framing, self._left = head.framing, head.length
        self._head = head.data
        self._flush = self._line.loop.call_soon(self._put_head)

    def _put_head(self) -> None:
        """Write a head that nothing has followed at once."""
        head = self._drop_head()
        if head and not self._transport.is_closing():
            self._transport.write(head)
            self._chunks.streams = self._framing is Framing.CHUNKED and not self.is_whole

    def _drop_head(self) -> bytes:
        head, self._head = self._head, b""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        return head

    def _put_body(self, data: bytes, *, goes_on: bool) -> None:
        if not self.has_begun or self.is_whole:
            _refuse(data)
        out = self._framed(data, goes_on=goes_on)
        head = self._drop_head()
        if head and len(out) <= JOINED_BYTES:
            out = head + out
        elif head:
            self._transport.write(head)
        if out:
            self._transport.write(out)
        if goes_on:
            self._chunks.streams = self._framing is Framing.CHUNKED
        else:
            self._end()

    def _framed(self, data: bytes, *, goes_on: bool) -> bytes:
        if self._framing is Framing.NONE:
            return b""
        if self._framing is Framing.CHUNKED:
            out = chunk(data) if data else b""
            return out if goes_on else out + LAST_CHUNK
        if self._framing is Framing.LENGTH:
            self._left -= len(data)
            if self._left < 0 or (self._left and not goes_on):
                raise RuntimeError("a body has another length than its head says")
        return data

    def _end(self) -> None:
        self.is_whole, self._chunks.streams = True, False
        self._parts, self.unread = [], 0
        self._wake()
        self._line.end(self)

    def _wake(self) -> None:
        if self._news is not None:
            self._news.set()


def _let_go(_: bytes) -> None:
    """Take a piece of a body for a client that has left."""


def _refuse(_: bytes) -> None:
    raise RuntimeError("a body stands between a head and its own end")
