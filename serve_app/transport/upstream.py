"""HTTP/1.1 to the engines' endpoints: only what the data plane needs, at the least cost.

One request at a time on a keep-alive connection; bodies arrive as they come, without
timers or tasks for each token. Why not a client library: docs/adr/0008-upstream-client.md.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import cast
from urllib.parse import urlsplit

import httptools

HIGH_WATER = 2**17
"""Unread bytes at which reading from the engine stops: about 1,000 tokens of a stream.

A client that does not read fills this, then back-pressure reaches the engine's socket.
"""

SWEEP_S = 0.25

HEALTH_PATH = "/health"
"""Answered by the engine's endpoint; 503 when its engine core is known to be dead."""


class BrokenConnection(ConnectionError):
    """The engine's side ended or failed before its answer was whole."""


class DeadEndpoint(BrokenConnection):
    """The engine's side was silent and gave no sign of life when asked."""


class SilentConnection(TimeoutError):
    """Nothing came within the read time-out."""


class Response:
    """One answer: its head, and its body as it arrives. Close it when done."""

    __slots__ = ("_connection", "_on_close", "headers", "status")

    def __init__(self, connection: _Connection, status: int, headers: dict[str, str]) -> None:
        self._connection: _Connection | None = connection
        self._on_close: Callable[[], None] | None = None
        self.status = status
        self.headers = headers

    def expect_tokens(self) -> None:
        """From now on a token comes every step: `stall_s` bounds silence."""
        if self._connection is not None:
            self._connection.is_flowing = True

    @property
    def content_type(self) -> str:
        """The media type, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def readany(self) -> bytes:
        """What has arrived, waiting for something; empty at the end.

        Raises BrokenConnection or SilentConnection.
        """
        connection = self._connection
        if connection is None:
            return b""
        while not connection.unread:
            if connection.is_whole:
                return b""
            await connection.happens()
        return connection.take()

    async def pour(self, step: Callable[[bytes], bool]) -> bool:
        """Give `step` what arrives, where it arrives, until it says no more.

        It runs in the connection's callback, without a task's turn, and may not wait.

        Returns:
            False when the body has ended.

        Raises BrokenConnection, SilentConnection, and what `step` raises.

        """
        connection = self._connection
        if connection is None:
            return False
        while True:
            if connection.unread:
                if not step(connection.take()):
                    return True
            elif connection.is_whole:
                return False
            elif await connection.pours_into(step):
                return True

    def read_nowait(self) -> bytes:
        """What has arrived; empty when nothing has."""
        return b"" if self._connection is None else self._connection.take()

    async def read(self) -> bytes:
        parts = []
        while part := await self.readany():
            parts.append(part)
        return b"".join(parts)

    def close(self) -> None:
        """Done: the connection is kept if the answer was read whole, else ended.

        Ending it is what aborts the engine's request.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()
        done, self._on_close = self._on_close, None
        if done is not None:
            done()

    def when_closed(self, done: Callable[[], None]) -> None:
        """Call `done` once, when this is closed."""
        self._on_close = done


class Upstream:
    """Connections to every replica, kept between requests.

    Args:
        headers: sent with every request.
        connect_s: time-out of connecting.
        read_s: longest silence of an engine.
        probe_after_s: silence after which the endpoint is asked for a sign of life.
        probe_s: time-out of that.
        stall_s: longest silence where a token is due every step.

    """

    def __init__(
        self,
        headers: Mapping[str, str],
        connect_s: float,
        read_s: float,
        *,
        probe_after_s: float = math.inf,
        probe_s: float = 3.0,
        stall_s: float = math.inf,
    ) -> None:
        self.connect_s = connect_s
        self.read_s = read_s
        self.probe_after_s, self.probe_s, self.stall_s = probe_after_s, probe_s, stall_s
        self._probes: dict[str, asyncio.Task[None]] = {}
        self._alive_at: dict[str, float] = {}
        self._fixed = _lines(headers)
        self._idle: dict[str, list[_Connection]] = {}
        self.busy: set[_Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def post(self, url: str, path: str, body: bytes, headers: Mapping[str, str]) -> Response:
        """Send a request and wait for the answer's head.

        Raises OSError when nothing can be reached, TimeoutError when connecting takes
        too long, BrokenConnection and SilentConnection.
        """
        host = urlsplit(url).netloc
        head = (
            (f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(body)}\r\n").encode()
            + self._fixed
            + _lines(headers)
        )
        request = head + b"\r\n" + body
        idle = self._idle.get(url)
        while idle:
            connection = idle.pop()
            if connection.is_open:
                try:
                    return await self._exchange(connection, request)
                except DeadEndpoint:
                    raise
                except BrokenConnection:
                    if connection.has_answered:
                        raise
                    # It was closed while it lay idle; a new one will tell.
        return await self._exchange(await self._connect(url), request)

    async def _connect(self, url: str) -> _Connection:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        if host is None or port is None:
            raise OSError("no host and port in a replica's address")
        async with asyncio.timeout(self.connect_s):
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(self, url), host, port
            )
        return connection

    async def _exchange(self, connection: _Connection, request: bytes) -> Response:
        self.busy.add(connection)
        self._arm()
        try:
            return await connection.send(request)
        except BaseException:
            connection.release()
            raise

    def release(self, connection: _Connection) -> None:
        self.busy.discard(connection)
        if connection.is_open and not self._is_closed:
            self._idle.setdefault(connection.url, []).append(connection)

    def forget(self, connection: _Connection) -> None:
        self.busy.discard(connection)
        idle = self._idle.get(connection.url, [])
        if connection in idle:
            idle.remove(connection)
        if not idle:
            # Replicas come and go; their addresses are not kept for ever.
            self._idle.pop(connection.url, None)

    def _arm(self) -> None:
        if self._sweeper is None and not self._is_closed:
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        """One timer for all: a connection that is waited for and silent is looked at."""
        self._sweeper = None
        now = asyncio.get_running_loop().time()
        for connection in list(self.busy):
            if connection.is_waited_for:
                self._judge(connection, now)
        if self.busy:
            self._arm()
        else:
            self._alive_at.clear()

    def _judge(self, connection: _Connection, now: float) -> None:
        silent_s = now - connection.heard_at
        if silent_s > self.read_s:
            connection.fail(SilentConnection())
        elif connection.is_flowing and silent_s > self.stall_s:
            connection.fail(DeadEndpoint("the engine stalled"))
        elif silent_s > self.probe_after_s and connection.url not in self._probes:
            alive_at = self._alive_at.get(connection.url, -math.inf)
            if now - alive_at > self.probe_after_s:
                self._begin_probe(connection.url)

    def _begin_probe(self, url: str) -> None:
        task = asyncio.get_running_loop().create_task(self._probe(url), name="probe")
        self._probes[url] = task
        task.add_done_callback(lambda _: self._probes.pop(url, None))

    async def _probe(self, url: str) -> None:
        """Ask an endpoint for a sign of life; without one, all who wait for it are told.

        A slow prefill keeps an engine silent, not the endpoint before it.
        """
        begun = asyncio.get_running_loop().time()
        if await self.is_alive(url):
            self._alive_at[url] = begun
            return
        for connection in list(self.busy):
            is_silent = connection.is_waited_for and connection.heard_at <= begun
            if connection.url == url and is_silent:
                connection.fail(DeadEndpoint("no sign of life"))

    async def is_alive(self, url: str) -> bool | None:
        """Whether an endpoint says that its engine lives; None: it says nothing in `probe_s`."""
        try:
            async with asyncio.timeout(self.probe_s):
                return await self._answers(url)
        except OSError:
            return None

    async def _answers(self, url: str) -> bool:
        head = f"GET {HEALTH_PATH} HTTP/1.1\r\nhost: {urlsplit(url).netloc}\r\n".encode()
        connection = await self._connect(url)
        try:
            response = await connection.send(head + self._fixed + b"\r\n")
        finally:
            connection.fail(BrokenConnection("asked"))
        return response.status < 500

    async def close(self) -> None:
        self._is_closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for probe in self._probes.values():
            probe.cancel()
        for connection in [*self.busy, *(c for idle in self._idle.values() for c in idle)]:
            connection.fail(BrokenConnection("closed"))


class _Connection(asyncio.Protocol):
    """One connection and the answer under way on it."""

    def __init__(self, pool: Upstream, url: str) -> None:
        self.url = url
        self.heard_at = 0.0
        self.has_answered = False
        self.is_flowing = False
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._step: Callable[[bytes], bool] | None = None
        self._step_error: Exception | None = None
        self._headers: dict[str, str] = {}
        self._has_head = False
        self.is_whole = True
        self._keeps_alive = False
        self._fault: Exception | None = None
        self._parts: deque[bytes] = deque()
        self.unread = 0
        self._is_paused = False
        self._is_between_chunks = False

    # -- for the pool ------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_waited_for(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    async def send(self, request: bytes) -> Response:
        if self._transport is None:
            raise BrokenConnection("the connection was lost")
        self._parser = httptools.HttpResponseParser(self)
        self._headers, self._has_head, self.is_whole = {}, False, False
        self._is_between_chunks = False
        self.has_answered = self.is_flowing = False
        self.heard_at = self._loop.time()
        self._transport.write(request)
        while not self._has_head:
            await self.happens()
        return Response(self, self._parser.get_status_code(), self._headers)

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

    def happens(self) -> asyncio.Future[None]:
        """Done when something has happened. Raises the fault that has."""
        if self._fault is not None:
            raise self._fault
        self._waiter = self._loop.create_future()
        return self._waiter

    async def pours_into(self, step: Callable[[bytes], bool]) -> bool:
        """Give a step what arrives, until something else happens; whether it said no more."""
        self._step = step
        try:
            await self.happens()
            if self._step_error is not None:
                raise self._step_error
            return self._step is None
        finally:
            self._step = self._step_error = None

    def _pour(self, step: Callable[[bytes], bool], data: bytes) -> None:
        try:
            if step(data):
                if self.is_whole:
                    self._wake()
                return
        except Exception as error:  # noqa: BLE001 - the task's, whose step it is
            self._step_error = error
        self._step = None
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # -- from the event loop ---------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is no asyncio.Transport by class.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._loop.time()
        step = self._step
        if step is not None and self._is_between_chunks and (body := only_chunk(data)):
            # The parser stands where it would stand after it.
            self._pour(step, body)
            return
        self.has_answered = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.fail(BrokenConnection(f"not HTTP: {type(error).__name__}"))
            return
        if self._is_between_chunks and not data.endswith(b"\r\n"):
            # Digits of the next one's size have come.
            self._is_between_chunks = False
        if step is not None and self.unread:
            self._pour(step, self.take())
        else:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._transport is not None:
            self._transport = None
            self.fail(BrokenConnection("the connection was lost"))

    # -- from the parser -----------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        # An interim answer (100, 103) is followed by the real one.
        self._has_head = self._parser.get_status_code() >= 200

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        self.unread += len(body)
        if self.unread > HIGH_WATER and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def on_chunk_header(self) -> None:
        self._is_between_chunks = False

    def on_chunk_complete(self) -> None:
        self._is_between_chunks = True

    def on_message_complete(self) -> None:
        self.is_whole = self._has_head
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


def _lines(headers: Mapping[str, str]) -> bytes:
    """Header lines. Raises ValueError for what would be more than one line."""
    lines = []
    for name, value in headers.items():
        if any(mark in f"{name}{value}" for mark in "\r\n\0"):
            raise ValueError("a header may not hold a line break")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode("latin-1")
