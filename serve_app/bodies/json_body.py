"""JSON from the wire and to the engine: no number and no text changes on its way."""

from __future__ import annotations

import json
from math import inf
from typing import Any

import orjson

from router.errors import Rejected, RejectReason
from serve_app.bodies.body_bounds import too_heavy
from serve_app.bodies.steps import Steps
from serve_app.config.serving import LimitsConfig

SAFE_DEPTH = 200
"""Depth that every writer of JSON here can write; orjson reads deeper than it writes."""

_LEAST, _MOST = -(2.0**63), 2.0**64
"""What orjson reads as a float from here on may have been an integer, or larger than a double."""

SLOW_BYTES = 128 * 1024
"""Of a body that only Python's own reader can read: a tenth as fast."""

_MAX_DIGITS = 4300
"""Of an integer: Python's own limit."""


def loading(raw: bytes, limits: LimitsConfig) -> Steps[dict[str, Any] | Rejected]:
    """Read a JSON object in UTF-8, in pieces, or say what is wrong with it (400).

    Of a name that comes twice, the last value counts; the engine gets no other.
    """
    heavy = yield from too_heavy(raw, limits)
    if heavy is not None:
        return heavy
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        # orjson refuses what Python's reader takes: half a character, deep nesting.
        return (yield from _loading_slowly(raw))
    if not isinstance(body, dict):
        return _not_an_object()
    yield
    depth = _depth_if_exact(body)
    if depth is None:
        return (yield from _loading_slowly(raw))
    if depth > SAFE_DEPTH:
        yield
        try:
            dump(body)
        except RecursionError:
            return Rejected(RejectReason.INVALID_JSON, "The request body is nested too deeply.")
    return body


def as_utf8(raw: bytes) -> bytes:
    """Decode a body in another of JSON's encodings, or with a byte order mark, to UTF-8."""
    if raw.startswith(b"{") and raw[1:2] != b"\0":
        return raw
    encoding = json.detect_encoding(raw)
    if encoding == "utf-8":
        return raw
    try:
        return raw.decode(encoding, "surrogatepass").encode("utf-8", "surrogatepass")
    except UnicodeError:
        return raw


def dump(body: Any) -> bytes:
    """Write JSON, integers past 64 bits included, which orjson refuses."""
    try:
        return orjson.dumps(body)
    except (orjson.JSONEncodeError, TypeError):
        return json.dumps(body).encode()


def _depth_if_exact(body: dict[str, Any]) -> int | None:
    """Return how deep a body is nested; None: orjson may have changed a number in it."""
    depth = 0
    level: list[Any] = [body]
    while level:
        depth += 1
        inner: list[Any] = []
        for holder in level:
            for value in holder.values() if type(holder) is dict else holder:
                kind = type(value)
                if kind is str or kind is int:
                    continue
                if kind is dict or kind is list:
                    inner.append(value)
                elif kind is float and not _LEAST < value < _MOST:
                    return None
        level = inner
    return depth


def _loading_slowly(raw: bytes) -> Steps[dict[str, Any] | Rejected]:
    if len(raw) > SLOW_BYTES:
        message = (
            "The request body is not valid JSON, is nested too deeply, or holds half of a "
            f"surrogate pair or a number past 64 bits, which a body of {SLOW_BYTES} bytes "
            "at most may."
        )
        return Rejected(RejectReason.INVALID_JSON, message)
    yield
    try:
        body = json.loads(raw, parse_constant=_refuse_constant, parse_int=_whole)
        yield
        written = json.dumps(body, ensure_ascii=False)
    except (ValueError, RecursionError):
        return Rejected(RejectReason.INVALID_JSON, "The request body is not valid JSON.")
    if not isinstance(body, dict):
        return _not_an_object()
    yield
    return _unwritable(body, written) or body


def _refuse_constant(name: str) -> None:
    """NaN and Infinity are Python's, not JSON's, and would reach the engine as null."""
    raise ValueError(name)


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_DIGITS else inf


def _not_an_object() -> Rejected:
    return Rejected(RejectReason.INVALID_REQUEST, "The request body must be a JSON object.")


def _unwritable(body: dict[str, Any], written: str) -> Rejected | None:
    """Refuse the field with half a character, or a number too large to be passed on."""
    if not _is_unicode(written):
        fields = ((k, json.dumps([k, v], ensure_ascii=False)) for k, v in body.items())
        name = next(k for k, text in fields if not _is_unicode(text))
        name = name.encode(errors="replace").decode()
        message = f"'{name}' holds half of a surrogate pair: no text has such a character."
        return Rejected(RejectReason.INVALID_REQUEST, message, param=name)
    for name, value in body.items():
        if not _is_finite(value):
            message = f"'{name}' holds a number that is too large."
            return Rejected(RejectReason.INVALID_REQUEST, message, param=name)
    return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_finite(value: Any) -> bool:
    """Return whether no number in it is past a double: Python reads those as infinite."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True
