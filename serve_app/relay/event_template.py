"""What the events of one stream have in common, so that most are read without a JSON parser.

An engine's events of one answer differ in the text and the token id alone. A template is what
stands around them in an event that was read whole. It is tried before it is used: another text
and another id are put in, and the parser has to find just these and nothing else changed. From then
on any text without quotes, backslashes and control characters in that place is what the parser
would find, as those are what ends a JSON string or stands for something else.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import Any

import orjson

_TEXT = re.compile(rb'[^"\\\x00-\x1f]+')
# Below 2**32, and without zeros in front, which JSON does not know.
_ID = re.compile(rb"[1-9][0-9]{0,8}(?=\])")
_MEMBER = b'"token_ids":['
_PROBE, _PROBE_ID = "{[:,\x7f}", 7


@dataclass(frozen=True, slots=True)
class EventTemplate:
    """An event before its text, from there to its one token id, and after that."""

    prefix: bytes
    middle: bytes
    suffix: bytes

    def read(self, event: bytes) -> tuple[tuple[int], str] | None:
        """Return the token id and the text of an event of this kind; None: it is another."""
        prefix, middle = self.prefix, self.middle
        if not event.startswith(prefix):
            return None
        text = _TEXT.match(event, len(prefix))
        if text is None or not event.startswith(middle, text.end()):
            return None
        token = _ID.match(event, text.end() + len(middle))
        if token is None or event[token.end() :] != self.suffix:
            return None
        try:
            return (int(token[0]),), text[0].decode()
        except UnicodeDecodeError:
            return None


def template_of(event: bytes, data: dict[str, Any]) -> EventTemplate | None:
    """Return the template of one event that was read as `data`; None: it does more than add."""
    choices = data.get("choices") or []
    if len(choices) != 1 or data.get("prompt_token_ids") or not _only_adds(choices[0]):
        return None
    name, holder = ("text", "choice") if choices[0].get("text") else ("content", "delta")
    found = _split(event, f'"{name}":"'.encode())
    if found is None:
        return None
    wanted = copy.deepcopy(data)
    choice = wanted["choices"][0]
    (choice if holder == "choice" else choice["delta"])[name] = _PROBE
    choice["token_ids"] = [_PROBE_ID]
    probe = b"%b%b%b%d%b" % (found.prefix, _PROBE.encode(), found.middle, _PROBE_ID, found.suffix)
    try:
        return found if orjson.loads(probe[len(b"data: ") :]) == wanted else None
    except orjson.JSONDecodeError:
        return None


def _only_adds(choice: dict[str, Any]) -> bool:
    """Whether it has text and one id, and says nothing else that a transcript notes."""
    delta = choice.get("delta") or {}
    says_more = any(delta.get(x) for x in ("role", "tool_calls", "reasoning", "reasoning_content"))
    ends = choice.get("finish_reason") is not None or choice.get("prompt_token_ids")
    # Of both the delta's would be taken.
    has_text = bool(delta.get("content")) != bool(choice.get("text"))
    return has_text and len(choice.get("token_ids") or ()) == 1 and not (says_more or ends)


def _split(event: bytes, member: bytes) -> EventTemplate | None:
    begin = event.find(member) + len(member)
    text = _TEXT.match(event, begin)
    at = event.find(_MEMBER, begin) + len(_MEMBER)
    token = _ID.match(event, at)
    if begin < len(member) or at < len(_MEMBER) or text is None or token is None:
        return None
    middle = event[text.end() : at]
    if not middle.startswith(b'"') or not event.endswith(b"\n\n"):
        return None
    return EventTemplate(event[:begin], middle, event[token.end() :])
