"""Request bodies that come compressed: `content-encoding`, undone within a bound."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Callable
from functools import partial

from router.errors import Rejected, RejectReason

ACCEPTED = b"gzip, deflate, zstd, br"

MAX_CODINGS = 3
"""One over the other; a client has use for one."""

MAX_MEMBERS = 1000
"""Of one gzip body: each may be empty, and takes a step of Python."""

SLICE_BYTES = 16 * 1024

_ZEROS = re.compile(rb"\0+")

GZIP, ZLIB, RAW = 31, 15, -15
"""zlib's names of the three forms, as window sizes."""


class TooLarge(Exception):
    """More came out than may."""


class Corrupt(Exception):
    """Not what its header says, or cut short."""


def codings_of(headers: list[tuple[bytes, bytes]]) -> list[str]:
    """Return what a body was encoded with, in that order and without `identity`."""
    lines = [value.decode("latin-1") for name, value in headers if name == b"content-encoding"]
    if not lines:
        return []
    names = (name.strip().lower() for name in ",".join(lines).split(","))
    return [name for name in names if name not in ("", "identity")]


def unknown_coding(codings: list[str]) -> Rejected | None:
    """Refuse codings that are not known here (415)."""
    known = all(name in _DECODERS for name in codings)
    if known and len(codings) <= MAX_CODINGS:
        return None
    message = f"The body's content-encoding is not understood: {ACCEPTED.decode()} are."
    return Rejected(RejectReason.INVALID_REQUEST, message, param="content-encoding")


async def decode(raw: bytes, codings: list[str], max_bytes: int) -> bytes | Rejected:
    """Decode a body on a thread, beside the event loop."""
    return await asyncio.to_thread(_decode, raw, codings, max_bytes)


def _decode(raw: bytes, codings: list[str], max_bytes: int) -> bytes | Rejected:
    for name in reversed(codings):
        try:
            raw = _DECODERS[name](raw, max_bytes)
        except TooLarge:
            message = f"The request body may have {max_bytes} bytes, decoded."
            return Rejected(RejectReason.REQUEST_TOO_LARGE, message)
        except Corrupt:
            message = f"The request body is not whole, or not {name} as its header says."
            return Rejected(RejectReason.INVALID_JSON, message)
    return raw


def _gunzip(raw: bytes, max_bytes: int) -> bytes:
    """Decode one member after another. Zeros may follow the last."""
    out, size, at = [], 0, 0
    for _ in range(MAX_MEMBERS):
        part, at = _inflate(raw, at, max_bytes - size, GZIP)
        size += len(part)
        out.append(part)
        padding = _ZEROS.match(raw, at)
        at = padding.end() if padding else at
        if at == len(raw):
            return b"".join(out)
    raise Corrupt


def _undeflate(raw: bytes, max_bytes: int) -> bytes:
    """Decode with the frame that the RFC asks for, or without it, as some clients send it."""
    try:
        return _whole(raw, max_bytes, ZLIB)
    except Corrupt:
        return _whole(raw, max_bytes, RAW)


def _whole(raw: bytes, max_bytes: int, form: int) -> bytes:
    out, end = _inflate(raw, 0, max_bytes, form)
    if end < len(raw):
        raise Corrupt
    return out


def _inflate(raw: bytes, at: int, max_bytes: int, form: int) -> tuple[bytes, int]:
    """What comes out of the stream that begins at `at`, and where it ends.

    It is fed in slices: zlib copies what it is given beyond the stream's end.
    """
    stream, out, left = zlib.decompressobj(form), [], max_bytes + 1
    while not stream.eof and at < len(raw):
        given = raw[at : at + SLICE_BYTES]
        try:
            # One more than allowed, and nothing beyond is ever made.
            out.append(stream.decompress(given, left))
        except zlib.error as error:
            raise Corrupt from error
        left -= len(out[-1])
        if left <= 0:
            raise TooLarge
        at += len(given) - len(stream.unused_data)
    if not stream.eof:
        raise Corrupt
    return b"".join(out), at


def _with_arrow(codec: str, raw: bytes, max_bytes: int) -> bytes:
    # Imported here: it takes a second, and few clients send these.
    import pyarrow as pa

    try:
        with pa.CompressedInputStream(pa.BufferReader(raw), codec) as stream:
            out: bytes = stream.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        raise Corrupt from error
    if len(out) > max_bytes:
        raise TooLarge
    return out


_DECODERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "deflate": _undeflate,
    "zstd": partial(_with_arrow, "zstd"),
    "br": partial(_with_arrow, "brotli"),
}
