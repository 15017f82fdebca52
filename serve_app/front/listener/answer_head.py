"""The head of an answer as it goes over the wire, and how the body after it is framed."""

from __future__ import annotations

import enum
import functools
import http
from collections.abc import Iterable
from typing import NamedTuple

from serve_app.request.response_headers import Headers

_LEGAL = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
"""What a head may have besides its lines' ends; one more end would begin another line."""

_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})
_BODILESS = frozenset({204, 304})


class Framing(enum.Enum):
    """Where a body ends (RFC 9112, 6.3)."""

    NONE = enum.auto()
    LENGTH = enum.auto()
    CHUNKED = enum.auto()
    CLOSE = enum.auto()


class AnswerHead(NamedTuple):
    """The bytes of a head; `length`: of the body where that is its framing."""

    data: bytes
    framing: Framing
    length: int
    closes: bool


def status_line(status: int) -> bytes:
    """Return the first line of an answer."""
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


STATUS_LINES = {status: status_line(status) for status in range(100, 600)}


def header_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return header lines as bytes."""
    return b"".join([b"%b: %b\r\n" % line for line in headers])


@functools.lru_cache(maxsize=4)
def block(lines: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Return header lines that many answers have: they change with the date."""
    return header_lines(lines)


def answer_head(
    status: int,
    lines: Iterable[tuple[bytes, bytes]],
    before: bytes,
    *,
    is_head: bool,
    keeps_alive: bool,
    takes_chunks: bool,
) -> AnswerHead:
    """Make the head of an answer to one request.

    `before`: lines of every answer. `is_head`: the body stays here. `takes_chunks`: the client
    speaks HTTP/1.1; to others a body without a length ends with the connection.

    Raises RuntimeError for a name or value that HTTP has not.
    """
    parts: list[bytes] = []
    framed: Headers = []
    count = 0
    for name, value in lines:
        name = name.lower()  # noqa: PLW2901
        parts += (name, b": ", value, b"\r\n")
        count += 1
        if name in _FRAMING:
            framed.append((name, value))
    own = b"".join(parts)
    # All at once: a look at each line would cost more than the rest of the head.
    if own.translate(None, _LEGAL) != b"\r\n" * count:
        raise RuntimeError("invalid name or value of a header")
    length, is_chunked, closes = _told(framed)
    framing, more = Framing.LENGTH, b"\r\n"
    if is_head or status in _BODILESS:
        framing = Framing.NONE
    elif is_chunked:
        framing = Framing.CHUNKED
    elif length is None:
        framing = Framing.CHUNKED if takes_chunks else Framing.CLOSE
    if framing is Framing.CHUNKED and not is_chunked:
        more = b"transfer-encoding: chunked\r\n\r\n"
    if not closes and (not keeps_alive or framing is Framing.CLOSE):
        closes, more = True, b"connection: close\r\n" + more
    data = b"".join((STATUS_LINES[status], before, own, more))
    return AnswerHead(data, framing, length or 0, closes)


def _told(lines: Iterable[tuple[bytes, bytes]]) -> tuple[int | None, bool, bool]:
    """Return what the application says of the body's length, of chunks, and of closing."""
    length, is_chunked, closes = None, False, False
    for name, value in lines:
        if name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            is_chunked = value.lower() == b"chunked"
        elif name == b"connection":
            closes = closes or b"close" in [x.strip() for x in value.lower().split(b",")]
    if is_chunked and length is not None:
        raise RuntimeError("an answer has a length or chunks")
    return length, is_chunked, closes
