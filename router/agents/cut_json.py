"""A long JSON text cut at the borders of its elements, so that it stays JSON.

Of an array, the first and the last elements stay, and a string between them says how many
do not. Of an object, the longest values are shortened first, until all members fit; if they
cannot, the first and the last members stay. Numbers stay as they were written.

The work is in proportion to what is kept, but for the reading, which is in C.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Any

from router.agents.cut_text import SHORT_MARK, cut_text, utf8_bytes

MAX_CHARS = 400_000
"""A longer text is cut as text: reading it would take more than 10 ms."""

MAX_DEPTH = 24
"""Levels below this one are left out where they do not fit."""

FEW = 4
"""Elements of an array that are all kept, each shortened, where there is room."""

MIN_SHARE = 64
"""Bytes that a shortened value needs to say anything."""

_LEAST_MEMBER = len('"":0,')


class _Number(str):
    """A number as it was written."""

    __slots__ = ()


class _TooLongError(Exception):
    """What is written does not fit."""


def cut_json(text: str, max_bytes: int) -> str | None:
    """A JSON text in `max_bytes` UTF-8 bytes at most; None: it is none, or is too deep.

    Objects, arrays and strings are JSON here: a number alone is a text.
    """
    if len(text) > MAX_CHARS or text.lstrip()[:1] not in ("{", "[", '"'):
        return None
    try:
        value = json.loads(text, parse_int=_Number, parse_float=_Number, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    fitted = _fit(value, max_bytes, 0)
    return fitted if utf8_bytes(fitted) <= max_bytes else None


def _refuse(name: str) -> None:
    raise ValueError(name)


def _fit(value: Any, room: int, depth: int) -> str:
    """A value in `room` bytes; where they are too few for any, in up to five."""
    whole = _written(value, room, depth)
    if whole is not None:
        return whole
    if isinstance(value, dict) and depth < MAX_DEPTH:
        return _fit_object(value, room, depth)
    if isinstance(value, list) and depth < MAX_DEPTH:
        return _fit_array(value, room, depth)
    if isinstance(value, str):
        return _fit_string(value, room)
    return _quote(SHORT_MARK)


def _fit_string(text: str, room: int) -> str:
    size = room - 2
    while size > 0:
        quoted = _quote(cut_text(text, size))
        needed = utf8_bytes(quoted)
        if needed <= room:
            return quoted
        # Escapes are longer than what they stand for.
        size = min(size - 1, size * room // needed)
    return '""'


def _fit_array(items: list[Any], room: int, depth: int) -> str:
    inner = room - 2
    if len(items) <= FEW:
        parts = _fit_all(items, inner - len(items), depth)
        if parts is not None:
            return f"[{','.join(parts)}]"

    def element(index: int, left: int) -> str:
        return _fit(items[index], left, depth + 1)

    return f"[{_ends(len(items), inner, element, _cut_elements)}]"


def _fit_object(members: dict[str, Any], room: int, depth: int) -> str:
    inner = room - 2
    keys = list(members)
    if len(keys) * _LEAST_MEMBER <= inner:
        names = sum(utf8_bytes(_quote(key)) + 2 for key in keys)
        parts = _fit_all(list(members.values()), inner - names, depth)
        if parts is not None:
            pairs = zip(keys, parts, strict=True)
            return "{" + ",".join(f"{_quote(key)}:{part}" for key, part in pairs) + "}"

    def member(index: int, left: int) -> str:
        key = _fit_string(keys[index], left // 2)
        value = _fit(members[keys[index]], left - utf8_bytes(key) - 1, depth + 1)
        return f"{key}:{value}"

    return "{" + _ends(len(keys), inner, member, _cut_members) + "}"


def _cut_elements(cut: int, total: int) -> str:
    return f'"[... {cut} of {total} elements cut here ...]"'


def _cut_members(cut: int, total: int) -> str:
    return f'"...":"{cut} of {total} members cut here"'


def _fit_all(values: Sequence[Any], room: int, depth: int) -> list[str] | None:
    """All values in `room` bytes together, the longest shortened; None: there is no room."""
    if room < 2 * len(values):
        return None
    whole = [_written(value, room, depth + 1) for value in values]
    sizes = [room + 1 if text is None else utf8_bytes(text) for text in whole]
    share = _share(sizes, room)
    if share < MIN_SHARE and any(size > share for size in sizes):
        return None
    return [
        text if text is not None and size <= share else _fit(value, share, depth + 1)
        for value, text, size in zip(values, whole, sizes, strict=True)
    ]


def _share(sizes: Sequence[int], room: int) -> int:
    """The size at which the longer ones are cut, so that all fit into `room`.

    Uncut, they do not.
    """
    waiting = sorted(sizes, reverse=True)
    while waiting[-1] <= room // len(waiting):
        room -= waiting.pop()
    return room // len(waiting)


def _ends(
    total: int, room: int, part: Callable[[int, int], str], marker: Callable[[int, int], str]
) -> str:
    """The first and the last parts that fit into `room` bytes, a marker between them."""
    left = room - utf8_bytes(marker(total, total)) - 1
    most = max(left // FEW, MIN_SHARE)
    head, left = _take(range(total), left, left - left // 3, most, part)
    tail, left = _take(range(total - 1, len(head) - 1, -1), left, left, most, part)
    cut = total - len(head) - len(tail)
    middle = [marker(cut, total)] if cut and left >= 0 else []
    return ",".join([*head, *middle, *reversed(tail)])


def _take(
    indices: range, left: int, room: int, most: int, part: Callable[[int, int], str]
) -> tuple[list[str], int]:
    """Parts, in this order, as long as they fit into `room`; and what is left of `left`."""
    taken: list[str] = []
    for index in indices:
        text = part(index, most)
        size = utf8_bytes(text) + 1
        if size > room:
            break
        taken.append(text)
        room -= size
        left -= size
    return taken, left


def _written(value: Any, room: int, depth: int) -> str | None:
    """A value as compact JSON; None: it does not fit, or is too deep."""
    parts: list[str] = []
    try:
        _write(value, room, depth, parts)
    except _TooLongError:
        return None
    return "".join(parts)


def _write(value: Any, room: int, depth: int, parts: list[str]) -> int:
    """Add a value's text to `parts`, and return the room that is left."""
    if isinstance(value, dict | list) and value:
        if depth >= MAX_DEPTH or 2 * len(value) > room:
            raise _TooLongError
        if isinstance(value, dict):
            return _write_members(value, room, depth, parts)
        return _write_elements(value, room, depth, parts)
    if isinstance(value, _Number):
        return _put(str(value), room, parts)
    if isinstance(value, str):
        if len(value) > room:
            raise _TooLongError
        return _put(_quote(value), room, parts)
    return _put(json.dumps(value), room, parts)


def _write_members(value: dict[str, Any], room: int, depth: int, parts: list[str]) -> int:
    mark = "{"
    for key, inner in value.items():
        if len(key) > room:
            raise _TooLongError
        room = _put(f"{mark}{_quote(key)}:", room, parts)
        room = _write(inner, room, depth + 1, parts)
        mark = ","
    return _put("}", room, parts)


def _write_elements(value: list[Any], room: int, depth: int, parts: list[str]) -> int:
    mark = "["
    for inner in value:
        room = _put(mark, room, parts)
        room = _write(inner, room, depth + 1, parts)
        mark = ","
    return _put("]", room, parts)


def _put(text: str, room: int, parts: list[str]) -> int:
    left = room - utf8_bytes(text)
    if left < 0:
        raise _TooLongError
    parts.append(text)
    return left


def _quote(text: str) -> str:
    """A text as JSON; half of a surrogate pair stays the escape that it was."""
    quoted = encode_basestring(text)
    if not quoted.isascii():
        try:
            quoted.encode()
        except UnicodeEncodeError:
            return encode_basestring_ascii(text)
    return quoted
