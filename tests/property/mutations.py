"""Strategies that spoil what is valid: structures member by member, texts byte by byte."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import strategies as st

from tests.examples import examples

FUZZED = examples(250)
"""Seconds in `make test`, minutes in `make soak`."""

MAX_EDITS = 4
MAX_PLACES = 200

# Where readers differ: signs, sizes, text that is a number, half a character.
EDGES = st.sampled_from(
    [
        *(None, True, False, 0, -1, 1.0, 1.5, 2**31, 2**63, -(2**63) - 1, 2**64, 10**30, 1e308),
        *("", "x", "1", "off", "auto", "\x00", "\ud800", "\U0001f600", "\r\n", "pm-"),
        *([], {}, [[]], [{}], [None], {"type": None}, {"role": "user"}, {"$ref": "#"}),
        *({"type": "function"}, {"url": "http://127.0.0.1:8265/"}, {"json": "{}"}),
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = EDGES | st.recursive(
    SCALARS,
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=8), x, max_size=3),
    max_leaves=6,
)
PIECES = st.binary(max_size=6) | st.sampled_from(
    [
        *(b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\", b"\\u", b"\\ud800", b"\x00", b"\xff"),
        *(b"1e999", b"NaN", b"-0", b"null", b"\xef\xbb\xbf", b"[" * 300, b'{"a":' * 300),
        *(b'"cache_salt":"theirs",', b'"priority":-9,', b'"model":"x",', b'"n":1,'),
    ]
)


@st.composite
def spoilt(draw: st.DrawFn, value: Any, values: st.SearchStrategy[Any] = VALUES) -> Any:
    """A copy of a JSON value in which a few places have another value, name or number."""
    value = _copy(value)
    for _ in range(draw(st.integers(0, MAX_EDITS))):
        places = list(itertools.islice(_places(value), MAX_PLACES))
        if not places:
            return _copy(draw(values))
        holder, key = draw(st.sampled_from(places))
        _edit(draw, holder, key, values)
    return value


def _edit(draw: st.DrawFn, holder: Any, key: Any, values: st.SearchStrategy[Any]) -> None:
    kind = draw(st.sampled_from(["value", "remove", "nest", "repeat", "rename"]))
    if kind == "value":
        holder[key] = _copy(draw(values))
    elif kind == "remove":
        del holder[key]
    elif kind == "nest":
        for _ in range(draw(st.sampled_from([1, 2, 70, 240]))):
            holder[key] = [holder[key]] if draw(st.booleans()) else {"properties": holder[key]}
    elif isinstance(holder, list):
        holder += _copy([holder[key]] * draw(st.integers(1, 5)))
    else:
        holder[draw(st.text(max_size=8))] = _copy(holder[key])


def _copy(value: Any) -> Any:
    """What is drawn may be one object in every example, and is edited."""
    return json.loads(json.dumps(value))


def _places(value: Any) -> Any:
    """Every member of every array and object in it."""
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        members = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in members:
            yield holder, key
            if isinstance(holder[key], (dict, list)):
                waiting.append(holder[key])


@st.composite
def mangled(draw: st.DrawFn, raw: bytes, pieces: st.SearchStrategy[bytes] = PIECES) -> bytes:
    """Bytes with a few pieces put in, taken out or doubled."""
    for _ in range(draw(st.integers(0, MAX_EDITS))):
        start = draw(st.integers(0, len(raw)))
        end = min(len(raw), start + draw(st.integers(0, 12)))
        raw = raw[:start] + draw(pieces | st.just(raw[start:end] * 2)) + raw[end:]
    return raw


@st.composite
def cut(draw: st.DrawFn, raw: bytes, most: int = 12) -> list[bytes]:
    """The same bytes in pieces, empty ones among them."""
    marks = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=most)))
    return [raw[a:b] for a, b in zip([0, *marks], [*marks, len(raw)], strict=True)]
