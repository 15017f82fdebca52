"""What every route's form of tool calls can do, in events and whole.

What the gate (`serve_app.agents.gate`) asks of a route's form, so that it knows no route.
Each form is written against the pinned vLLM's models.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Protocol

from serve_app.bodies.json_body import dump

Data = dict[str, Any]
Key = tuple[int, int]
"""Of a call: which of several answers, and which call of it."""


class What(Enum):
    """What a piece of an event says."""

    TEXT = auto()
    BEGIN = auto()
    ARGUMENTS = auto()
    END = auto()
    FINISH = auto()


@dataclass(frozen=True, slots=True)
class Piece:
    """One thing that an event says about one answer.

    Attributes:
        text: said to the user, the tool's name, a part of the arguments, or why the
            answer ended, by `what`.

    """

    what: What
    key: Key
    text: str = ""


@dataclass(slots=True)
class MadeCall:
    """One call of an answer.

    Attributes:
        id: by which its result is sent back.

    """

    key: Key
    id: str
    name: str
    arguments: str


class Form(Protocol):
    """One route's way to write calls."""

    def read(self, data: Data) -> Iterator[Piece]:
        """What one event says, in order."""

    def token_of(self, data: Data) -> str | None:
        """The text, reasoning or arguments of an event that has nothing else of the answer."""

    def is_opening(self, data: Data) -> bool:
        """Whether an event comes before the answer and has nothing of it."""

    def split(self, data: Data) -> list[Data]:
        """The same event as several, each about one call or none."""

    def index_of(self, data: Data) -> int:
        """The index of the part of the answer that an event is about; -1: of none."""

    def said(self, data: Data, text: str) -> Data:
        """An event that says this text instead of its own."""

    def id_of(self, data: Data) -> str:
        """The id of the call that an event begins."""

    def events(self, begin: Data, call: MadeCall) -> list[Data]:
        """The events of one whole call, in place of those that began with `begin`."""

    def new_call(self, finish: Data, number: int, call: MadeCall) -> list[Data]:
        """The events of a call that no event began, before the one that ends the answer."""

    def new_text(self, finish: Data, number: int, text: str) -> list[Data]:
        """The events of a text that no event said, before the one that ends the answer."""

    def closed(self, data: Data, mended: Mended) -> Data:
        """An event after the calls, with what was mended in it."""

    def whole_calls(self, answer: Data) -> list[MadeCall]:
        """The calls of a whole answer."""

    def whole_texts(self, answer: Data) -> list[tuple[int, str]]:
        """The text of each of its answers."""

    def whole_finish(self, answer: Data) -> list[tuple[int, bool, bool]]:
        """Of each answer: whether it says that it calls tools, and whether it was cut short."""

    def whole_mended(self, answer: Data, mended: Mended) -> Data:
        """A whole answer with what was mended in it."""


@dataclass(slots=True)
class Mended:
    """What is different in an answer that was mended.

    Attributes:
        calls: calls that are replaced, by key.
        added: calls that had not been made, by answer.
        dropped: calls that are left out.
        texts: what is left of the text, or stands in its place, by answer.
        said: answers whose text is to be said before they end: they had none.
        prompt_tokens, completion_tokens: that mending took.

    """

    calls: dict[Key, MadeCall]
    added: dict[int, list[MadeCall]]
    dropped: set[Key]
    texts: dict[int, str]
    said: set[int] = field(default_factory=set)
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def is_needed(self) -> bool:
        """Whether anything is different, be it the usage alone."""
        said = self.calls or self.added or self.dropped or self.texts
        return bool(said) or self.completion_tokens > 0


def event_of(data: Data) -> bytes:
    """One event, as vLLM frames it: the dialects that name their events do so twice."""
    line = b"data: " + dump(data) + b"\n\n"
    kind = data.get("type")
    return line if not isinstance(kind, str) else b"event: " + kind.encode() + b"\n" + line


def dicts(value: object) -> list[Data]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def part(data: Data, name: str) -> Data:
    """A member that is an object; an empty one for whatever else an engine put there."""
    found = data.get(name)
    return found if isinstance(found, dict) else {}


def member(data: Data, name: str) -> str | None:
    """A member that is a text; None for any other."""
    found = data.get(name)
    return found if isinstance(found, str) else None


def with_usage(data: Data, mended: Mended, prompt: str, completion: str) -> Data:
    """The usage, where there is one, with what mending took."""
    usage = data.get("usage")
    if not isinstance(usage, dict) or not mended.completion_tokens:
        return data
    more = {prompt: mended.prompt_tokens, completion: mended.completion_tokens}
    if "total_tokens" in usage:
        more["total_tokens"] = mended.prompt_tokens + mended.completion_tokens
    counted = {k: (usage.get(k) or 0) + v for k, v in more.items()}
    return {**data, "usage": {**usage, **counted}}
