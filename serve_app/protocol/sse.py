"""Reading a stream of server-sent events in passing, without parsing each one.

Bytes go through as they come, cut at event boundaries so that an error event can
follow a broken stream cleanly. The reader counts events (one per token on
vLLM with `stream_interval` 1) and looks inside an event only where `"usage"`
stands in it: one in a stream, unless the client asked for more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson

from router.errors import Rejected
from serve_app.protocol.engine_words import engine_error, from_engine

MAX_EVENT_BYTES = 64 * 2**20
"""What no event is: a long answer's log probabilities in one are some megabytes."""

# Events with the closing count, in the dialects that name their events.
_CLOSING = frozenset({"message_delta", "response.completed", "response.incomplete"})


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request as the engine counted them.

    Attributes:
        cached_tokens: of the prompt; `reasoning_tokens`: of the completion, where it is told.

    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )

    @property
    def total(self) -> int:
        return self.prompt_tokens + self.completion_tokens


def read_usage(data: object) -> Usage | None:
    """Return the usage in a response or event of any dialect, if it has one."""
    if not isinstance(data, dict):
        return None
    usage = data.get("usage")
    if not isinstance(usage, dict):
        nested = data.get("response") or data.get("message")
        usage = nested.get("usage") if isinstance(nested, dict) else None
    if not isinstance(usage, dict):
        return None
    prompt = _count(usage, "prompt_tokens")
    completion = _count(usage, "completion_tokens")
    prompt = _count(usage, "input_tokens") if prompt is None else prompt
    completion = _count(usage, "output_tokens") if completion is None else completion
    if prompt is None and completion is None:
        return None
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    # Anthropic's input tokens are those that were neither read from a cache nor put there.
    read = _count(usage, "cache_read_input_tokens") or 0
    apart = read + (_count(usage, "cache_creation_input_tokens") or 0)
    cached = (_count(details, "cached_tokens") if isinstance(details, dict) else 0) or read
    parts = usage.get("completion_tokens_details") or usage.get("output_tokens_details")
    reasoning = (_count(parts, "reasoning_tokens") if isinstance(parts, dict) else 0) or 0
    return Usage((prompt or 0) + apart, completion or 0, cached, reasoning)


_FLAT_USAGE = re.compile(rb'"usage": ?(\{[^{}]{0,500}\})')
_NEAR = 2_000
"""Bytes at an answer's beginning, or end, where its usage stands."""


def usage_within(answer: bytes) -> Usage | None:
    """Return the usage of an answer that is not worth reading whole.

    It is looked for at both ends: between them are vectors, or texts of the client's. In a text
    of JSON every quotation mark has a backslash before it, so none can pass for a usage.
    """
    found = _FLAT_USAGE.search(answer, 0, _NEAR) or _FLAT_USAGE.search(answer[-_NEAR:])
    return None if found is None else read_usage({"usage": parsed_json(found[1])})


def _count(counts: dict[str, Any], name: str) -> int | None:
    """Return a member if it is a count: an engine may have put anything there."""
    found = counts.get(name)
    if found is None:
        return None
    is_count = isinstance(found, int) and not isinstance(found, bool) and found >= 0
    return found if is_count else None


class EventReader:
    """Passes a stream on event by event and keeps account of it.

    Args:
        hide_usage: drop the closing usage event, which the client did not ask for.

    Attributes:
        fault: data of the event with which the engine said that it failed.
        is_endless: it failed by an event over `MAX_EVENT_BYTES`; what else comes is no answer.

    """

    def __init__(self, *, hide_usage: bool) -> None:
        self._hide_usage = hide_usage
        self._tail = bytearray()
        self.events = 0
        self.usage: Usage | None = None
        self.has_failed = False
        self.is_endless = False
        self.fault = b""
        self.refused: Rejected | None = None
        self.is_counted = False

    @property
    def is_plain(self) -> bool:
        """Whether it stands between two events of an answer that goes on."""
        return not (self._tail or self.has_failed or self.is_counted)

    def feed(self, chunk: bytes) -> bytes:
        """Take bytes from the engine, and return the whole events to pass on."""
        if self.has_failed:
            return b""
        if self._tail:
            chunk = self._with_tail(chunk)
        if not chunk.endswith(b"\n\n"):
            cut = chunk.rfind(b"\n\n") + 2
            if cut == 1:
                self._tail += chunk
                return b""
            self._tail += chunk[cut:]
            chunk = chunk[:cut]
        self.events += chunk.count(b"\n\n")
        # `in` tries the mark as a number first: twice the time of `find`.
        if chunk.find(b'"usage"') >= 0 or chunk.find(b'"error"') >= 0:
            return self._inspect(chunk)
        return chunk

    def _with_tail(self, chunk: bytes) -> bytes:
        """What waited and what came, once an event ends in it; nothing until then.

        Only what came is looked through: a long event comes in thousands of pieces.
        """
        tail = self._tail
        begun = len(tail) - 1
        tail += chunk
        if tail.find(b"\n\n", begun) >= 0:
            whole = bytes(tail)
            tail.clear()
            return whole
        if len(tail) > MAX_EVENT_BYTES:
            tail.clear()
            self.has_failed = self.is_endless = True
        return b""

    def _inspect(self, chunk: bytes) -> bytes:
        kept = []
        events = chunk.split(b"\n\n")
        for number, event in enumerate(events):
            if event and self._keep(event):
                kept.append(event + b"\n\n")
            if self.has_failed:
                # vLLM says [DONE] after its error; our error event comes instead. Neither
                # is a token.
                self.events -= len(events) - 1 - number
                break
        return b"".join(kept)

    def _keep(self, event: bytes) -> bool:
        if b'"usage"' not in event and b'"error"' not in event:
            return True
        line = data_line(event)
        data = parsed_json(line)
        if not isinstance(data, dict):
            return True
        if _is_fault(data):
            self.has_failed = True
            self.fault = line
            self.refused = _bad_request(line)
            return False
        usage = read_usage(data)
        if usage is None:
            return True
        self.usage = _merged(self.usage, usage)
        is_closing = data.get("choices") == []
        kind = data.get("type")
        if is_closing or kind == "message_start":
            # A count, and no token.
            self.events -= 1
        if is_closing or (isinstance(kind, str) and kind in _CLOSING):
            self.is_counted = True
        return not (self._hide_usage and is_closing)


def _is_fault(data: dict[str, object]) -> bool:
    """Return whether an event reports an engine fault rather than only holding the word."""
    kind = data.get("type")
    # Under "response" the second holds a message of the engine's own.
    return kind in ("error", "response.failed") or (
        "choices" not in data and "error" in data and "type" not in data
    )


def _bad_request(data: bytes) -> Rejected | None:
    """What a fault event says is wrong with the request: another replica would say the same.

    vLLM looks at sampling parameters and grammars when the stream has begun, so that its
    400 comes as the first event of a 200.
    """
    code = engine_error(data).get("code")
    return from_engine(code, data) if isinstance(code, int) and 400 <= code < 500 else None


def _merged(before: Usage | None, now: Usage) -> Usage:
    """Merge two counts: Anthropic reports the prompt at the start, the completion at the end."""
    if before is None:
        return now
    return Usage(
        max(before.prompt_tokens, now.prompt_tokens),
        max(before.completion_tokens, now.completion_tokens),
        max(before.cached_tokens, now.cached_tokens),
        max(before.reasoning_tokens, now.reasoning_tokens),
    )


def data_line(event: bytes) -> bytes:
    lines = (line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))
    return next(lines, b"")


_NUMBER = re.compile(rb'"sequence_number": ?(\d{1,15})[,}]')


def next_number(events: bytes) -> int:
    """Return the number of the event after these of `/v1/responses`; 0 of other dialects."""
    numbers = _NUMBER.findall(events)
    return int(numbers[-1]) + 1 if numbers else 0


def parsed_json(line: bytes) -> object:
    """Return what the JSON says; None where it is none."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
