"""What a stream has given its client, kept as it came and read only when it must be.

A token costs one append and one substitution. Events are read when the stream has
broken off; of a long one the oldest, one for one, as their ids and text are smaller. Most need
no parser then (`event_template`).
"""

from __future__ import annotations

import re
from array import array
from collections import deque
from typing import Any

import orjson

from router.recovery.resume import Delivered
from serve_app.bodies.json_body import SAFE_DEPTH
from serve_app.relay.event_template import EventTemplate, template_of

MAX_RAW_BYTES = 2**16
"""Raw events kept of one stream: about 250 tokens."""

MAX_TRIES = 8
"""Events of a stream that are tried as the template of the others."""

# Inside a JSON string the quote would be escaped, so this can only be a member.
_IDS = re.compile(rb'token_ids":\[[0-9, ]*\]')
MEMBER = b'token_ids":['
HIDDEN = b'token_ids":null'

DONE = b"data: [DONE]\n\n"


# Of the answer; the prompt's are not delivered.
_ANSWER_IDS = re.compile(rb'(?<!prompt_)token_ids":\[([0-9, ]+)\]')


def count_ids(events: bytes) -> int:
    """Ids of answered tokens in whole events."""
    at = events.find(MEMBER)
    if at < 0:
        return 0
    end = events.find(b"]", at)
    if events.find(MEMBER, end) < 0 and events[at - 7 : at] != b"prompt_":
        return events.count(b",", at, end) + (end > at + len(MEMBER))
    return sum(ids.count(b",") + 1 for ids in _ANSWER_IDS.findall(events))


def _hide_ids(events: bytes) -> bytes:
    at = events.find(MEMBER)
    end = events.find(b"]", at)
    if at < 0 or events.find(MEMBER, end) >= 0:
        # None, or several: the first event has the prompt's, too.
        return _IDS.sub(HIDDEN, events)
    return b"%b%b%b" % (events[:at], HIDDEN, events[end + 1 :])


class Transcript:
    """Keeps one stream's events, and reads what they gave its client.

    Attributes:
        has_ids: the engine was asked for token ids; `shows_ids`: the client asked for them.
        envelope: id, object, created and model of the client's chunks.
        has_begun: something was passed on.
        has_role: the client knows who speaks.
        strips: ids are there and not shown.
        raw: events that are kept and not read yet, `size` bytes in all; `noted`: what was read.
        template: of the events that need no parser, once one was read.

    """

    def __init__(
        self, delivered: Delivered, *, is_chat: bool, has_ids: bool, shows_ids: bool
    ) -> None:
        self.is_chat = is_chat
        self.has_ids = has_ids
        self.shows_ids = shows_ids
        self.envelope: dict[str, Any] = {}
        self.has_begun = False
        self.has_role = False
        self.strips = has_ids and not shows_ids
        self.noted = delivered
        self.raw: deque[bytes] = deque()
        self.size = 0
        self.template: EventTemplate | None = None
        self._tries = MAX_TRIES

    def pass_on(self, events: bytes) -> bytes:
        """Note whole events of the engine; return them as the client gets them."""
        self.raw.append(events)
        self.size += len(events)
        while self.size > MAX_RAW_BYTES:
            # Not all at once: streams of one batch come here together.
            self.read(self.raw.popleft())
        return _hide_ids(events) if self.strips else events

    @property
    def delivered(self) -> Delivered:
        while self.raw:
            self.read(self.raw.popleft())
        return self.noted

    def read(self, events: bytes) -> None:
        """Note what was kept raw until now."""
        self.size -= len(events)
        if self.template is not None and (added := self.template.read(events)) is not None:
            self.noted.add(*added)
            return
        for event in events.split(b"\n\n"):
            data = data_of(event)
            if data is not None:
                self._note(data)
                if self.template is None and self._tries:
                    self._tries -= 1
                    self.template = template_of(event + b"\n\n", data)

    def _note(self, data: dict[str, Any]) -> None:
        self.has_begun = True
        if not self.envelope:
            # What later chunks repeat; a fingerprint stands where the engine sets one.
            names = ("id", "object", "created", "model", "system_fingerprint")
            self.envelope = {name: data[name] for name in names if name in data}
        delivered = self.noted
        if data.get("prompt_token_ids"):
            delivered.prompt = array("I", data["prompt_token_ids"])
        for choice in data.get("choices") or ():
            if choice.get("prompt_token_ids"):
                delivered.prompt = array("I", choice["prompt_token_ids"])
            note_choice(delivered, choice)
            self.has_role = self.has_role or bool((choice.get("delta") or {}).get("role"))


def note_choice(delivered: Delivered, choice: dict[str, Any]) -> None:
    delta = choice.get("delta") or {}
    delivered.has_tool_call = delivered.has_tool_call or bool(delta.get("tool_calls"))
    reasoning = delta.get("reasoning") or delta.get("reasoning_content")
    delivered.has_reasoning = delivered.has_reasoning or bool(reasoning)
    delivered.add(choice.get("token_ids"), delta.get("content") or choice.get("text") or "")
    delivered.is_finished = delivered.is_finished or choice.get("finish_reason") is not None


def data_of(event: bytes) -> dict[str, Any] | None:
    """The JSON object of one event; None for marks, comments and what is no chunk."""
    if not event.startswith(b"data: {"):
        return None
    try:
        data = orjson.loads(event[6:])
        if event.count(b"[") + event.count(b"{") > SAFE_DEPTH:
            # It reads deeper than it writes.
            orjson.dumps(data)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None
    return data if isinstance(data, dict) and _is_chunk(data) else None


def _is_chunk(data: dict[str, Any]) -> bool:
    """Whether its members are what they are in vLLM's chunks, as far as they are read here."""
    choices, usage = data.get("choices") or [], data.get("usage") or {}
    if not isinstance(choices, list) or not all(map(_is_choice, choices)):
        return False
    if not isinstance(usage, dict):
        return False
    counts = [usage.get(f"{x}_tokens") for x in ("prompt", "completion")] if usage else []
    return _are_ids(data.get("prompt_token_ids")) and _are_ids(counts)


def _is_choice(choice: Any) -> bool:
    if not isinstance(choice, dict):
        return False
    delta = choice.get("delta") or {}
    if not isinstance(delta, dict):
        return False
    texts = (choice.get("text"), delta.get("content"))
    ids = (choice.get("token_ids"), choice.get("prompt_token_ids"))
    return all(isinstance(text, str | None) for text in texts) and all(map(_are_ids, ids))


def _are_ids(value: Any) -> bool:
    """None, or numbers that `array("I")` takes."""
    if value is None:
        return True
    return isinstance(value, list) and all(type(x) is int and 0 <= x < 2**32 for x in value)
