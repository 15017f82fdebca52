"""How much may be in a request body: what bounds the time that one piece of reading takes.

A body within `max_body_bytes` is text, most of it, and text is read at a gigabyte a second.
Four megabytes of `[]` or of one-letter names take hundreds of times as long, in one piece.
So values are counted on the bytes, before anything is made of them: a number counts one, a
text, a name, an array or an object four, as they cost. Brackets and commas within a text
count for nothing, however many there are.

`weigh` may count too much of what is not JSON; it never counts too little of what the
reader reads before it finds that out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from router.errors import Rejected, RejectReason
from serve_app.bodies.steps import Steps
from serve_app.config.serving import LimitsConfig

DEFAULTS = LimitsConfig()

SLICE_BYTES = 64 * 1024
"""Weighed in one piece: a millisecond or two."""

HEAVIEST = 4
"""What a byte can weigh: fewer bytes than a fourth of the bound need no weighing."""

_WEIGHTS = np.zeros(256, np.uint8)
_WEIGHTS[list(b",")] = 1
_WEIGHTS[list(b"[{")] = HEAVIEST
_QUOTE, _BACKSLASH = ord('"'), ord("\\")

Bytes = NDArray[np.uint8]


def too_heavy(raw: bytes, limits: LimitsConfig) -> Steps[Rejected | None]:
    """Refuse a body (UTF-8) that holds too many values, before it is read."""
    most = limits.max_values
    if len(raw) * HEAVIEST <= most or _at_most(raw) <= most:
        return None
    yield
    weight = yield from weigh(raw, most)
    if weight <= most:
        return None
    message = (
        f"The request body holds too many values: at most {most} are read, of which a number "
        "counts 1, a text, a name, an array or an object 4 (limits.max_values)."
    )
    return Rejected(RejectReason.INVALID_REQUEST, message)


def _at_most(raw: bytes) -> int:
    """Return what the weight would be if no bracket or comma were within a text."""
    brackets = raw.count(b"[") + raw.count(b"{")
    return HEAVIEST * brackets + 2 * raw.count(b'"') + raw.count(b",")


def weigh(raw: bytes, most: int) -> Steps[int]:
    """Return the weight of a body. Counting stops once it is over `most`."""
    weight, is_inside, backslashes = 0, 0, 0
    for begin in range(0, len(raw), SLICE_BYTES):
        part = np.frombuffer(raw, np.uint8, min(SLICE_BYTES, len(raw) - begin), begin)
        distance = _distance(part, backslashes)
        # An odd number of steps from what is no backslash: an even number of them between.
        quotes = (part == _QUOTE) & (distance & 1 == 1)
        # Within a text is what has an odd number of quotes before it. Bytes overflow evenly.
        inside = (np.cumsum(quotes, dtype=np.uint8) + np.uint8(is_inside)) & 1
        count = int(np.count_nonzero(quotes))
        weight += int((_WEIGHTS[part] * (1 - inside)).sum()) + 2 * count
        if weight > most:
            return weight
        is_inside = (is_inside + count) & 1
        backslashes = int(distance[-1]) if part[-1] == _BACKSLASH else 0
        yield
    return weight


def _distance(part: Bytes, before: int) -> NDArray[np.int64]:
    """Steps from each byte back to the last one before it that is no backslash.

    `before`: backslashes that the slice before this one ends with.
    """
    places = np.arange(len(part))
    others = np.where(part == _BACKSLASH, -1 - before, places)
    last = np.maximum.accumulate(others)
    distance: NDArray[np.int64] = places - np.concatenate(([-1 - before], last[:-1]))
    return distance


def too_many_parts(body: dict[str, Any], size: int, limits: LimitsConfig) -> Rejected | None:
    """Refuse a conversation of too many messages or parts; `size`: the body's bytes."""
    if size < 2 * limits.max_messages and size < 2 * limits.max_parts:
        # Even `[]` is two.
        return None
    for name in ("messages", "input"):
        items = body.get(name)
        if not isinstance(items, list):
            continue
        if len(items) > limits.max_messages:
            return _too_many(name, "messages", limits.max_messages)
        if _parts(items) > limits.max_parts:
            return _too_many(name, "parts", limits.max_parts)
    return None


def _parts(items: list[Any]) -> int:
    messages = [item for item in items if type(item) is dict]
    lists = (message.get(name) for message in messages for name in ("content", "tool_calls"))
    return sum(len(parts) for parts in lists if type(parts) is list)


def _too_many(name: str, what: str, most: int) -> Rejected:
    message = f"'{name}' has too many {what}: at most {most} are read (limits.max_{what})."
    return Rejected(RejectReason.INVALID_REQUEST, message, param=name)
