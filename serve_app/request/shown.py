"""What the client of one request was given, kept as it was sent and read only afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from starlette.types import Message, Send

from serve_app.protocol.asgi import DirectSend, write_of


class Shown:
    """The `send` of a request whose answer is kept: one append for each chunk.

    Args:
        most: bytes that are kept; of a longer answer nothing is.

    Attributes:
        parts: the answer's bytes; none of a refusal.
        size: their number.
        is_stream: they are events.

    """

    __slots__ = ("_keeps", "_most", "_send", "_write", "is_stream", "parts", "size")

    def __init__(self, send: Send, most: int) -> None:
        self._send, self._most = send, most
        self._write = write_of(send)
        self._keeps = self.is_stream = False
        self.parts: list[bytes] = []
        self.size = 0

    def __call__(self, message: Message) -> Awaitable[None]:
        """Note a message and pass it on; the same awaitable, no task's step more."""
        if self._keeps:
            self._note(message.get("body", b""))
        elif message["type"] == "http.response.start":
            self._keeps = message["status"] == 200
            kind = next((v for k, v in message["headers"] if k == b"content-type"), b"")
            self.is_stream = kind.startswith(b"text/event-stream")
        return self._send(message)

    @property
    def sender(self) -> Send:
        """This, with a `write` of its own where the `send` behind it has one."""
        return self if self._write is None else DirectSend(self, self.write)

    def write(self, body: bytes) -> asyncio.Future[None] | None:
        """Note a piece and write it."""
        if self._write is None:
            raise RuntimeError("there is nothing to write with")
        if self._keeps:
            self._note(body)
        return self._write(body)

    def _note(self, body: bytes) -> None:
        self.parts.append(body)
        self.size += len(body)
        if self.size > self._most:
            self.parts.clear()
            self.size = 0
            self._keeps = False
