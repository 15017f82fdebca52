"""A whole response of an ASGI application, and a shorter way for bodies that go on.

An own listener's scope has the extension `pointsman.write`: a function that writes a piece of a
body at once, where ASGI has a message and a coroutine. It goes with the `send` that it stands for,
in a `DirectSend`: whoever puts a `send` of its own before that one has none, unless it
makes a `DirectSend` with a `write` of its own. So nobody who looks at bodies is passed by.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from starlette.types import Message, Scope, Send

WRITE = "pointsman.write"

Write = Callable[[bytes], "asyncio.Future[None] | None"]
"""Takes a piece of a body that goes on; a future has to be awaited before the next one."""


class DirectSend:
    """A `send`, and what does the same with a body that goes on.

    Attributes:
        write: in place of `send` with `http.response.body`, `more_body` true.

    """

    __slots__ = ("_send", "write")

    def __init__(self, send: Send, write: Write) -> None:
        self._send, self.write = send, write

    def __call__(self, message: Message) -> Awaitable[None]:
        return self._send(message)


def extension_of(scope: Scope) -> Write | None:
    """Return the listener's `write`; None: this request came another way."""
    write: Write | None = (scope.get("extensions") or {}).get(WRITE)
    return write


def write_of(send: Send) -> Write | None:
    """Return what may be called for a body that goes on, in place of this `send`."""
    return send.write if isinstance(send, DirectSend) else None


async def respond(
    send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]]
) -> None:
    """Send a whole response, with its length."""
    told = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": body})
