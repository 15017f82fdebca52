"""The head of an answer as it goes over the wire, and how the body after it is framed."""

from __future__ import annotations

import enum
import functools
import http
from collections.abc import Iterable
from typing import NamedTuple

from serve_app.request.response_headers import Headers

_NAME = bytes(x for x in range(0x21, 0x7F) if x not in b'()<>@,;:[]={}\\"')
_VALUE = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
"""What names and values may have; a line's end in one would be another's beginning."""

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


@functools.lru_cache(maxsize=4)
def block(lines: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Return header lines that many answers have, as bytes. They change with the date."""
    return b"".join([b"%b: %b\r\n" % line for line in lines])


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
    names, values, framed = [], [], False
    parts = [STATUS_LINES[status], before]
    length, is_chunked, closes = None, False, False
    for name, value in lines:
        name = name.lower()  # noqa: PLW2901
        names.append(name)
        values.append(value)
        parts += (name, b": ", value, b"\r\n")
        framed = framed or name in _FRAMING
    _check(names, values)
    if framed:
        length, is_chunked, closes = _told(zip(names, values, strict=True))
    framing = Framing.LENGTH
    if is_head or status in _BODILESS:
        framing = Framing.NONE
    elif is_chunked:
        framing = Framing.CHUNKED
    elif length is None:
        framing = Framing.CHUNKED if takes_chunks else Framing.CLOSE
    if not closes and (not keeps_alive or framing is Framing.CLOSE):
        closes = True
        parts.append(b"connection: close\r\n")
    if framing is Framing.CHUNKED and not is_chunked:
        parts.append(b"transfer-encoding: chunked\r\n")
    parts.append(b"\r\n")
    return AnswerHead(b"".join(parts), framing, length or 0, closes)


def _check(names: list[bytes], values: list[bytes]) -> None:
    # All at once: a look at each would cost more than the rest of the head.
    if b"".join(names).translate(None, _NAME) or b"" in names:
        raise RuntimeError("invalid name of a header")
    if b"".join(values).translate(None, _VALUE):
        raise RuntimeError("invalid value of a header")


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


def header_lines(headers: Headers) -> bytes:
    """Return header lines of one answer, as bytes."""
    return b"".join([b"%b: %b\r\n" % line for line in headers])
