"""What one event of a stream adds to the answer, in each route's form.

Two streams of the same answer differ in ids, times, and in how the text is divided into
events. As parts they are alike: a *mark* says what a part is, its *text* what is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

Data = dict[str, Any]
Mark = tuple[Any, ...]

REASONING = frozenset(
    {"reasoning", "reasoning_content", "thinking_delta", "response.reasoning_text.delta"}
)
"""First members of the marks of reasoning: what the model says to itself."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an event.

    Attributes:
        mark: what it is; equal for the same part of a repeated answer.
        text: what it adds to the text of its mark; None: it is there or not.
        data: an event that says this part and nothing else.
        says: the same event with another text.

    """

    mark: Mark
    text: str | None
    data: Data
    says: Callable[[str], Data]

    @property
    def is_reasoning(self) -> bool:
        return self.mark[0] in REASONING

    def with_text(self, text: str) -> Part:
        """The same part with another text."""
        return replace(self, text=text, data=self.says(text))


def mark_of(mark: Mark, data: Data) -> Part:
    """A part that has no text."""
    return Part(mark, None, data, lambda _: data)


def parts_of(data: Data) -> Iterator[Part]:
    """The parts of one event of any route; empty texts and pings are none."""
    kind = data.get("type")
    if not isinstance(kind, str):
        yield from _chunk(data)
    elif kind == "content_block_delta":
        yield from _block_delta(data)
    elif isinstance(text := data.get("delta"), str):
        mark = (kind, data.get("output_index"), data.get("content_index"))
        yield from _said(mark, text, lambda new: {**data, "delta": new}, data)
    elif kind != "ping":
        yield mark_of(_structure(kind, data), data)


def _said(mark: Mark, text: str, with_text: Callable[[str], Data], data: Data) -> Iterator[Part]:
    if text:
        yield Part(mark, text, data, with_text)


def _structure(kind: str, data: Data) -> Mark:
    """The beginning or the end of a part of the answer, without ids and texts."""
    part = inner(data, "item") or inner(data, "content_block") or inner(data, "part")
    place = data.get("output_index", data.get("index")), data.get("content_index")
    return kind, *place, part.get("type"), part.get("name")


def _block_delta(data: Data) -> Iterator[Part]:
    """A delta of `/v1/messages`. A signature is another one each time."""
    delta, index = inner(data, "delta"), data.get("index")
    kind = delta.get("type")
    member = {"text_delta": "text", "thinking_delta": "thinking"}.get(str(kind), "partial_json")
    text = delta.get(member)
    if not isinstance(text, str):
        yield mark_of((kind, index), data)
        return
    yield from _said(
        (kind, index), text, lambda new: {**data, "delta": {**delta, member: new}}, data
    )


def _chunk(data: Data) -> Iterator[Part]:
    """A chunk of chat or completions, of one choice."""
    choices = data.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        yield mark_of(("usage",), data)
        return
    choice = choices[0]
    if "delta" in choice:
        yield from _delta(data, choice, inner(choice, "delta"))
    elif isinstance(choice.get("text"), str):
        bare = {**choice, "finish_reason": None}
        yield from _said(
            ("text",),
            choice["text"],
            lambda new: {**data, "choices": [{**bare, "text": new}]},
            {**data, "choices": [bare]},
        )
    if choice.get("finish_reason") is not None:
        empty: Data = {"delta": {}} if "delta" in choice else {"text": ""}
        ended = {**data, "choices": [{**choice, **empty}]}
        yield mark_of(("finish", choice["finish_reason"]), ended)


def _delta(data: Data, choice: Data, delta: Data) -> Iterator[Part]:
    def only(new: Data) -> Data:
        return {**data, "choices": [{**choice, "delta": new, "finish_reason": None}]}

    if delta.get("role"):
        yield mark_of(("role",), only({"role": delta["role"], "content": ""}))
    # Either name, or both with the same text.
    yield from _texts(delta, [x for x in ("reasoning", "reasoning_content") if delta.get(x)], only)
    yield from _texts(delta, ["content"], only)
    calls = delta.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict):
            yield from _call(call, only)


def _texts(delta: Data, names: list[str], only: Callable[[Data], Data]) -> Iterator[Part]:
    def with_text(new: str) -> Data:
        return only(dict.fromkeys(names, new))

    text = delta.get(names[0]) if names else None
    if isinstance(text, str):
        yield from _said((names[0],), text, with_text, with_text(text))


def _call(call: Data, only: Callable[[Data], Data]) -> Iterator[Part]:
    function, index = inner(call, "function"), call.get("index")

    def with_arguments(new: str) -> Data:
        return only({"tool_calls": [{"index": index, "function": {"arguments": new}}]})

    if function.get("name"):
        begun = {**call, "function": {**function, "arguments": ""}}
        yield mark_of(("call", index, function["name"]), only({"tool_calls": [begun]}))
    text = function.get("arguments")
    if isinstance(text, str):
        yield from _said(("arguments", index), text, with_arguments, with_arguments(text))


def inner(data: Data, name: str) -> Data:
    """A member that is an object; an empty one for whatever else an engine put there."""
    found = data.get(name)
    return found if isinstance(found, dict) else {}
