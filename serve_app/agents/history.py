"""The tool calls and results of a conversation, from the bodies of three dialects.

It reads what clients send, so it takes anything: what is no call, no result and no
message of the user's is passed over. Nothing is rebuilt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import orjson

from router.agents.cut_text import utf8_bytes
from router.agents.task import Call, Result, Task, TaskBuilder
from serve_app.bodies.json_body import dump
from serve_app.bodies.routes import CONVERSATIONS
from serve_app.bodies.steps import Steps
from serve_app.bodies.tool_parts import calls_of, is_result, objects, result_blocks
from serve_app.bodies.turns import text_of

AT_ONCE = 32 * 1024
"""Bytes of calls and results that are read in one piece, but for the last of them."""

_NUMBER = "\x00"
"""Marks a number among the texts of canonical arguments, so that 1.5 is not "1.5"."""

_PLAIN = re.compile(r"-?[1-9]\d{0,14}|0")
_NOT_PLAIN = re.compile(r"(?:^|[:\[,])\s*-?(?:\d+[.eE]|\d{16}|0)")
"""Of an integer that every reader and writer of JSON leaves as it is; of any other number,
or what may be one. Within a text it may be found, too."""

_NO_ARGUMENTS = "{}"

SHORT_BYTES = 2000
"""A longer result is no mere failure."""

_EMPTY = frozenset({"", "[]", "{}", "null", "none", "false", "0", '""'})
_FAILURES = (
    "error", "exception", "traceback", "fail", "not found", "no such", "not exist", "no match",
    "no result", "nothing", "none found", "invalid", "cannot", "could not", "unable", "denied",
    "forbidden", "timed out", "timeout", "0 results",
)  # fmt: skip
"""What tools say when they bring nothing, in the language that most of them speak."""

ITEM_BYTES = 250
"""Of a message or item that is read, without its text: what it costs as much as."""


def items_of(body: dict[str, Any], path: str) -> list[dict[str, Any]]:
    """The messages or items of a conversation, without what is no object."""
    return objects(body.get(CONVERSATIONS.get(path, "")))


def has_results(items: list[dict[str, Any]]) -> bool:
    """Whether a tool's result is among messages or items."""
    return any(_is_answer(item) or next(result_blocks(item), None) for item in items)


def reading_task(body: dict[str, Any], path: str) -> Steps[Task]:
    """The task that a conversation is, in pieces."""
    reader = _Reader()
    for item in items_of(body, path):
        # A message may hold thousands of calls.
        for _ in reader.reading(item):
            if reader.read_bytes >= AT_ONCE:
                reader.read_bytes = 0
                yield
    return reader.builder.build()


def result_field(item: dict[str, Any]) -> str | None:
    """The field with the result in a chat's message, an item or a block; None: it has none."""
    if _is_output(item):
        return "output"
    return "content" if item.get("role") in ("tool", "function") or is_result(item) else None


def call_id_of(given: dict[str, Any]) -> str:
    """Return the id of the call that a result is of; empty where it names none."""
    ids = (given.get(name) for name in ("tool_call_id", "tool_use_id", "call_id", "name"))
    return next((x for x in ids if isinstance(x, str)), "")


def _is_answer(item: dict[str, Any]) -> bool:
    return result_field(item) is not None


def _is_output(item: dict[str, Any]) -> bool:
    """An item of `/v1/responses` with a result: `function_call_output` and its like."""
    kind = item.get("type")
    return isinstance(kind, str) and kind.endswith("_call_output")


class _Reader:
    def __init__(self) -> None:
        self.builder = TaskBuilder()
        self.read_bytes = 0
        self._after_result = False

    def reading(self, item: dict[str, Any]) -> Iterator[None]:
        """Read an item; yields after each of its calls and results."""
        self.read_bytes += ITEM_BYTES
        field, content = result_field(item), item.get("content")
        if field is not None:
            self._add_result(item, field)
            yield
        elif isinstance(content, list) and (blocks := list(result_blocks(item))):
            for block in blocks:
                self._add_result(block, result_field(block) or "content")
                yield
        elif item.get("role") == "user":
            self._read_user(content)
        else:
            yield from self._reading_model(item)

    def _add_result(self, given: dict[str, Any], field: str) -> None:
        result = read_result(given.get(field), is_error=given.get("is_error") is True)
        self.read_bytes += result.size_bytes
        self.builder.add_result(call_id_of(given), result)
        self._after_result = True

    def _read_user(self, content: Any) -> None:
        text = text_of(content)
        # A picture from a tool, for which a chat's results have no place.
        if text or not self._after_result:
            self.builder.begin_turn(_digest(text.encode("utf-8", "surrogatepass")).hex())
            self._after_result = False

    def _reading_model(self, item: dict[str, Any]) -> Iterator[None]:
        self._after_result = False
        for call_id, name, arguments in calls_of(item):
            self._add_call(call_id, name, arguments)
            yield
        if item.get("role") == "assistant" and "type" not in item:
            self.builder.end_step()

    def _add_call(self, call_id: Any, name: Any, arguments: Any) -> None:
        text = canonical(arguments)
        self.read_bytes += ITEM_BYTES + len(text)
        known = call_id if isinstance(call_id, str) else ""
        self.builder.add_call(Call(known, name if isinstance(name, str) else "", text))


def canonical(arguments: Any) -> str:
    """Arguments in a form that is the same for all that mean the same.

    Keys are in order and whitespace is gone. Numbers are compared as they were written.
    Arguments that are no JSON stay the text that they are, and none are an empty object.
    """
    if isinstance(arguments, str):
        if not arguments.strip():
            return _NO_ARGUMENTS
        quick = _canonical_at_once(arguments)
        if quick is not None:
            return quick
        try:
            arguments = _DECODER.decode(arguments)
        except (ValueError, RecursionError):
            return str(arguments)
    if arguments is None:
        return _NO_ARGUMENTS
    try:
        return _ENCODER.encode(arguments)
    except (ValueError, RecursionError):
        return repr(type(arguments))


def _canonical_at_once(arguments: str) -> str | None:
    """The same by a reader that is ten times as fast; None for what it reads otherwise."""
    if _NOT_PLAIN.search(arguments) is not None:
        return None
    try:
        return orjson.dumps(orjson.loads(arguments), option=orjson.OPT_SORT_KEYS).decode()
    except (ValueError, TypeError):
        return None


def _number(text: str) -> int | str:
    return int(text) if _PLAIN.fullmatch(text) else _NUMBER + text


# Made once: making them takes longer than most arguments do.
_DECODER = json.JSONDecoder(parse_int=_number, parse_float=_number)
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def read_result(content: Any, *, is_error: bool = False) -> Result:
    """What a tool's result is: its text, and pictures as they were sent."""
    text = text_of(content)
    is_text = content is None or isinstance(content, str)
    raw = text.encode("utf-8", "surrogatepass") if is_text else _dumped(content)
    size = len(raw) if is_text else utf8_bytes(text)
    return Result(size, _digest(raw), is_error or (size <= SHORT_BYTES and _is_futile(text)))


def _is_futile(text: str) -> bool:
    """Whether a short result is an error, or says that nothing was found."""
    said = text.strip().lower()
    return said in _EMPTY or any(map(said.__contains__, _FAILURES))


def _dumped(content: Any) -> bytes:
    try:
        return dump(content)
    except (RecursionError, ValueError, TypeError):
        return b""


def _digest(raw: bytes) -> bytes:
    return blake2b(raw, digest_size=8).digest()
