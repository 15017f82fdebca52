"""Pieces of a body as chunks (RFC 9112, 7.1)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

LAST_CHUNK = b"0\r\n\r\n"
_MOST_KNOWN = 4096
_SIZES = tuple(b"%x\r\n" % size for size in range(_MOST_KNOWN))


def chunk(data: bytes) -> bytes:
    """Frame a piece of a body. Not an empty one: that would be the last."""
    size = len(data)
    return b"".join((_SIZES[size] if size < _MOST_KNOWN else b"%x\r\n" % size, data, b"\r\n"))


class Drain(Protocol):
    """Where chunks go.

    Attributes:
        is_full: the client does not take what is there for it.

    """

    is_full: bool

    def drained(self) -> asyncio.Future[None]:
        """Return what is done when the client takes more, or has left."""


class Chunks:
    """Writes pieces of a body that goes on. `serve_app/relay/pump` has the compiled twin.

    Args:
        line: tells whether the client takes more.
        write: the transport's.
        otherwise: takes a piece that is not to go out as a chunk of its own.

    Attributes:
        streams: what is written now is a chunk, and nothing stands before it.

    """

    __slots__ = ("_line", "_otherwise", "_write", "streams")

    def __init__(
        self, line: Drain, write: Callable[[bytes], None], otherwise: Callable[[bytes], None]
    ) -> None:
        self._line, self._write, self._otherwise = line, write, otherwise
        self.streams = False

    def write(self, data: bytes) -> asyncio.Future[None] | None:
        """Write a piece of a body that goes on. It is taken, whatever is returned.

        Returns: what has to be awaited before the next one: the client does not read.

        Raises RuntimeError where no body can follow.

        """
        if not self.streams:
            self._otherwise(data)
        elif size := len(data):
            # As `chunk`, without a call: a stream comes here with each token.
            head = _SIZES[size] if size < _MOST_KNOWN else b"%x\r\n" % size
            self._write(b"".join((head, data, b"\r\n")))
        return self._line.drained() if self._line.is_full else None

    def close(self, otherwise: Callable[[bytes], None]) -> None:
        """Write nothing more; `otherwise` takes what comes all the same."""
        self.streams, self._otherwise = False, otherwise
