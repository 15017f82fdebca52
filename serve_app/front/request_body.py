"""The body of one HTTP request: read within its bounds, or dropped after an early answer."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from functools import partial
from typing import Any

from starlette.types import Message, Receive

from router.errors import Rejected, RejectReason

SMALL_BYTES = 16 * 1024
AT_HAND_S = 0.02
"""A small body that comes within this is taken, so that its connection can go on."""

LINGER_S = 5.0
SILENT_S = 1.0
"""How long after an early answer more of a body is taken in, in all and between two pieces:
who is still sending reads the answer later, and a connection that closes on unread bytes
takes the answer with it."""

MAX_LINGERING = 100
"""Answers that wait so in this process; others close at once."""

NOT_ARRIVED = Rejected(RejectReason.INVALID_REQUEST, "The request body did not arrive.")


class ClientGone(Exception):
    """The client left before its request was whole."""


class RequestBody:
    """What follows a request's headers.

    Attributes:
        has_more: some of it may not have come yet.

    """

    _lingering = 0

    def __init__(self, headers: Mapping[bytes, bytes], receive: Receive) -> None:
        self._length = headers.get(b"content-length", b"0")
        self._is_chunked = b"transfer-encoding" in headers
        self.has_more = self._is_chunked or self._length.strip(b"0 ") != b""
        self._receive = receive

    async def read(self, max_bytes: int, within_s: float, silence_s: float) -> bytes | Rejected:
        """All of it; 413 as soon as it is known to be too long, 400 when it does not come.

        `within_s`: for all of it. `silence_s`: between two pieces.
        """
        if self._declares_more_than(max_bytes):
            return _too_large(max_bytes)
        # A small body is there with its head: no clock is set for what is not waited for.
        begun = _Begun(self._receive)
        if begun.message is not None:
            part = self._part(begun.message)
            if len(part) > max_bytes:
                return _too_large(max_bytes)
            if not self.has_more:
                return part
            return await self._rest([part], max_bytes, within_s, silence_s)
        return await self._rest([], max_bytes, within_s, silence_s, begun)

    async def _rest(
        self,
        parts: list[bytes],
        max_bytes: int,
        within_s: float,
        silence_s: float,
        begun: _Begun | None = None,
    ) -> bytes | Rejected:
        """Read what has not come at once; `begun`: what is awaited already."""
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        size = sum(map(len, parts))
        try:
            async with asyncio.timeout_at(min(until, loop.time() + silence_s)) as clock:
                while True:
                    part = await self._next() if begun is None else self._part(await begun)
                    begun = None
                    size += len(part)
                    if size > max_bytes:
                        return _too_large(max_bytes)
                    parts.append(part)
                    if not self.has_more:
                        return b"".join(parts)
                    if part:
                        clock.reschedule(min(until, loop.time() + silence_s))
        except TimeoutError:
            return NOT_ARRIVED

    def _declares_more_than(self, max_bytes: int) -> bool:
        declared = self._length
        return len(declared) > 15 or (declared.isdigit() and int(declared) > max_bytes)

    async def _next(self) -> bytes:
        return self._part(await self._receive())

    def _part(self, message: Message) -> bytes:
        if message["type"] == "http.disconnect":
            raise ClientGone
        self.has_more = bool(message.get("more_body"))
        part: bytes = message.get("body", b"")
        return part

    async def gone(self) -> None:
        """Wait until the client has left; what it still sends is dropped."""
        try:
            while True:
                await self._next()
        except ClientGone:
            return

    async def take_if_at_hand(self) -> None:
        """Drop a small body that is here already."""
        if not self._is_chunked and not self._declares_more_than(SMALL_BYTES):
            await self._drop(AT_HAND_S, AT_HAND_S)

    async def linger(self) -> None:
        """Drop what still comes of it, for a while."""
        if RequestBody._lingering >= MAX_LINGERING:
            return
        RequestBody._lingering += 1
        try:
            await self._drop(LINGER_S, SILENT_S)
        finally:
            RequestBody._lingering -= 1

    async def _drop(self, within_s: float, silence_s: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        try:
            while self.has_more:
                async with asyncio.timeout_at(min(until, loop.time() + silence_s)):
                    await self._next()
        except (TimeoutError, ClientGone):
            return


class _Begun:
    """A message that is waited for: at once there, or to be awaited further.

    Attributes:
        message: None: it is not there yet.

    """

    __slots__ = ("_rest", "_waits_for", "message")

    def __init__(self, receive: Receive) -> None:
        self.message: Message | None = None
        self._rest: Generator[Any, Any, Message] = receive().__await__()
        try:
            self._waits_for = next(self._rest)
        except StopIteration as done:
            self.message = done.value

    def __await__(self) -> Generator[Any, Any, Message]:
        while True:
            try:
                sent = yield self._waits_for
            except BaseException as error:  # noqa: BLE001 - the rest's to deal with
                go_on = partial(self._rest.throw, error)
            else:
                go_on = partial(self._rest.send, sent)
            try:
                self._waits_for = go_on()
            except StopIteration as done:
                message: Message = done.value
                return message


def _too_large(max_bytes: int) -> Rejected:
    return Rejected(RejectReason.REQUEST_TOO_LARGE, f"The request body may have {max_bytes} bytes.")
