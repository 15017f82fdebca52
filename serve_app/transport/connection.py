"""One connection to an engine's endpoint, and the answer under way on it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

import httptools

from serve_app.transport.feed import Feed, Push

HIGH_WATER = 2**17
"""Unread bytes at which reading from the engine stops: about 1,000 tokens of a stream.

A client that does not read fills this, then back-pressure reaches the engine's socket.
"""


class BrokenConnection(ConnectionError):
    """The engine's side ended or failed before its answer was whole."""


class DeadEndpoint(BrokenConnection):
    """The engine's side was silent and gave no sign of life when asked."""


class SilentConnection(TimeoutError):
    """Nothing came within the read time-out."""


class Pool(Protocol):
    """Where a connection that can be used again goes back to; others it forgets."""

    def release(self, connection: Connection) -> None: ...

    def forget(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """One connection and the answer under way on it."""

    def __init__(self, pool: Pool, url: str, feed: type[Feed] = Feed) -> None:
        self.url = url
        self.has_answered = False
        self.is_flowing = False
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        # It holds this object, as the feed does, until `let_go`.
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._step: Callable[[bytes], bool] | None = None
        self._step_error: Exception | None = None
        self.status = 0
        self.headers: dict[str, str] = {}
        self._has_head = False
        self.is_whole = True
        self._keeps_alive = False
        self._fault: Exception | None = None
        self._parts: deque[bytes] = deque()
        self.unread = 0
        self._is_paused = False
        self.feed = feed(self._receive, self._finish, self._loop.time)
        # What the event loop calls, without a function between: it is done for each token.
        self.data_received = self.feed.data_received  # type: ignore[method-assign]

    # -- for the pool ------------------------------------------------------------

    @property
    def heard_at(self) -> float:
        return self.feed.heard_at

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_waited_for(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    async def send(self, request: bytes) -> None:
        """Write a request and wait for the answer's head."""
        if self._transport is None:
            raise BrokenConnection("the connection was lost")
        self._parser = httptools.HttpResponseParser(self)
        self.headers, self._has_head, self.is_whole = {}, False, False
        self.feed.is_between_chunks = False
        self.has_answered = self.is_flowing = False
        self.feed.heard_at = self._loop.time()
        self._transport.write(request)
        while not self._has_head:
            await self.wait_event()

    def release(self) -> None:
        reusable = self.is_whole and not self.unread and self._fault is None
        if reusable and self.is_open and self._keeps_alive:
            self._pool.release(self)
        else:
            self.fail(BrokenConnection("abandoned"))

    def fail(self, fault: Exception) -> None:
        if self._fault is None and not self.is_whole:
            self._fault = fault
        if self._transport is not None:
            self._transport.abort()
        self._pool.forget(self)
        self._wake()

    # -- for the response ----------------------------------------------------------

    def take(self) -> bytes:
        parts = self._parts
        if not parts:
            return b""
        data = parts.popleft() if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self.unread = 0
        if self._is_paused:
            self._is_paused = False
            if self._transport is not None:
                self._transport.resume_reading()
        return data

    def wait_event(self) -> asyncio.Future[None]:
        """Return what is done at the next event. Raises the fault that has come before."""
        if self._fault is not None:
            # The one that is kept would hold this object, by its traceback.
            raise type(self._fault)(*self._fault.args)
        self._waiter = self._loop.create_future()
        return self._waiter

    async def deliver_to(self, step: Callable[[bytes], bool], push: Push | None = None) -> bool:
        """Give `step` what arrives until another event. Return whether it wants no more."""
        self._step, self.feed.push = step, push
        try:
            await self.wait_event()
            if self._step_error is not None:
                raise self._step_error
            return self._step is None
        finally:
            self._step = self.feed.push = self._step_error = None

    def _deliver(self, step: Callable[[bytes], bool], data: bytes) -> None:
        try:
            if step(data):
                if self.is_whole:
                    self._wake()
                return
        except Exception as error:  # noqa: BLE001 - the task's, whose step it is
            self._finish(error)
            return
        self._finish(None)

    def _finish(self, error: Exception | None) -> None:
        """Give nothing more to the step, and what it raised to its task."""
        self._step, self.feed.push, self._step_error = None, None, error
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # -- from the event loop ---------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is no asyncio.Transport by class.
        self._transport = cast("asyncio.Transport", transport)

    def _receive(self, data: bytes) -> None:
        """Take what was not pushed."""
        step = self._step
        if step is not None and self.feed.is_between_chunks and (body := only_chunk(data)):
            self._deliver(step, body)
            return
        self.has_answered = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.fail(BrokenConnection(f"not HTTP: {type(error).__name__}"))
            return
        if self.feed.is_between_chunks and not data.endswith(b"\r\n"):
            # Digits of the next one's size have come.
            self.feed.is_between_chunks = False
        if step is not None and self.unread:
            self._deliver(step, self.take())
        else:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._transport is not None:
            self._transport = None
            self.fail(BrokenConnection("the connection was lost"))
        self.let_go()

    def let_go(self) -> None:
        """Nothing comes any more: nothing is left to the collector of cycles."""
        self._parser = None  # type: ignore[assignment]
        self.feed.close()

    # -- from the parser -----------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        # An interim answer (100, 103) is followed by the real one.
        self.status = self._parser.get_status_code()
        self._has_head = self.status >= 200

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        self.unread += len(body)
        if self.unread > HIGH_WATER and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def on_chunk_header(self) -> None:
        self.feed.is_between_chunks = False

    def on_chunk_complete(self) -> None:
        self.feed.is_between_chunks = True

    def on_message_complete(self) -> None:
        self.is_whole = self._has_head
        # Whatever an engine sends after its end is no part of the answer.
        self.feed.is_between_chunks = False
        # Asked later, the parser has moved on and says no.
        self._keeps_alive = self._parser.should_keep_alive()


def only_chunk(data: bytes) -> bytes:
    """The content of the one chunk that `data` is (RFC 9112, 7.1); empty if it is not that.

    A stream's tokens come so: the endpoint writes each at once, in a chunk of its own.
    """
    start = data.find(b"\r\n", 1, 9) + 2
    size = len(data) - start - 2
    if start == 1 or size <= 0 or data[:start] != b"%x\r\n" % size or data[-2:] != b"\r\n":
        return b""
    return data[start:-2]
