"""HTTP/1.1 to the engines' endpoints: only what the data plane needs, at the least cost.

One request at a time on a keep-alive connection; bodies arrive as they come, without
timers or tasks for each token. Why not a client library: docs/adr/0008-upstream-client.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from serve_app.config.serving import TimeoutConfig
from serve_app.transport.connection import (
    BrokenConnection,
    Connection,
    DeadEndpoint,
    SilentConnection,
)
from serve_app.transport.feed import Feed, Push
from serve_app.transport.liveness import Liveness

__all__ = ["BrokenConnection", "DeadEndpoint", "Response", "SilentConnection", "Upstream"]

HEALTH_PATH = "/health"
"""Answered by the engine's endpoint; 503 when its engine core is known to be dead."""


class Response:
    """One answer: its head, and its body as it arrives. Close it when done."""

    __slots__ = ("_connection", "_on_close", "headers", "status")

    def __init__(self, connection: Connection, status: int, headers: dict[str, str]) -> None:
        self._connection: Connection | None = connection
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
            await connection.wait_event()
        return connection.take()

    async def deliver_to(self, step: Callable[[bytes], bool], push: Push | None = None) -> bool:
        """Give `step` what arrives, where it arrives, until it says no more.

        Where it may be one chunk, `push` has it first, with its framing. Both run in the
        connection's callback, without a task's turn, and may not wait.

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
            elif await connection.deliver_to(step, push):
                return True

    def read_nowait(self) -> bytes:
        """Return what has arrived without waiting."""
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
    """Connections to every replica, kept between requests. All send the same `headers`.

    `feed` takes what comes on each.
    """

    def __init__(
        self, headers: Mapping[str, str], timeouts: TimeoutConfig, feed: type[Feed] = Feed
    ) -> None:
        self._feed = feed
        self._fixed = _lines(headers)
        self._idle: dict[str, list[Connection]] = {}
        self.busy: set[Connection] = set()
        self._timeouts = timeouts
        self._liveness = Liveness(self.busy, timeouts, self.is_alive)
        self._is_closed = False

    def apply(self, timeouts: TimeoutConfig) -> None:
        self._timeouts = self._liveness.timeouts = timeouts

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

    async def _connect(self, url: str) -> Connection:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        if host is None or port is None:
            raise OSError("no host and port in a replica's address")
        connection: Connection | None = None

        def made() -> Connection:
            # uvloop makes one before it connects.
            nonlocal connection
            connection = Connection(self, url, self._feed)
            return connection

        try:
            async with asyncio.timeout(self._timeouts.connect_s):
                return (await asyncio.get_running_loop().create_connection(made, host, port))[1]
        except BaseException:
            if connection is not None:
                connection.let_go()
            raise

    async def _exchange(self, connection: Connection, request: bytes) -> Response:
        self.busy.add(connection)
        self._liveness.watch()
        try:
            await connection.send(request)
        except BaseException:
            connection.release()
            raise
        return Response(connection, connection.status, connection.headers)

    def release(self, connection: Connection) -> None:
        self.busy.discard(connection)
        if connection.is_open and not self._is_closed:
            self._idle.setdefault(connection.url, []).append(connection)

    def forget(self, connection: Connection) -> None:
        self.busy.discard(connection)
        idle = self._idle.get(connection.url, [])
        if connection in idle:
            idle.remove(connection)
        if not idle:
            # Replicas come and go; their addresses are not kept for ever.
            self._idle.pop(connection.url, None)

    async def is_alive(self, url: str) -> bool | None:
        """Return whether an endpoint says that its engine lives; None: silent for `probe_s`."""
        try:
            async with asyncio.timeout(self._timeouts.probe_s):
                return await self._answers(url)
        except OSError:
            return None

    async def _answers(self, url: str) -> bool:
        head = f"GET {HEALTH_PATH} HTTP/1.1\r\nhost: {urlsplit(url).netloc}\r\n".encode()
        connection = await self._connect(url)
        try:
            await connection.send(head + self._fixed + b"\r\n")
            return connection.status < 500
        finally:
            connection.fail(BrokenConnection("asked"))

    async def close(self) -> None:
        self._is_closed = True
        self._liveness.stop()
        for connection in [*self.busy, *(c for idle in self._idle.values() for c in idle)]:
            connection.fail(BrokenConnection("closed"))


def _lines(headers: Mapping[str, str]) -> bytes:
    """Header lines. Raises ValueError for what would be more than one line."""
    lines = []
    for name, value in headers.items():
        if any(mark in f"{name}{value}" for mark in "\r\n\0"):
            raise ValueError("a header may not hold a line break")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode("latin-1")
