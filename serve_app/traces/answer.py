"""What an answer said and called, read from the bytes that its client was given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serve_app.agents.forms import form_of
from serve_app.agents.forms.form import Data, Form, Key, What, dicts, member
from serve_app.protocol.sse import data_line, parsed_json

MAX_CALLS = 64
"""Calls of one answer that a trace has."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The first answer of a response; `n` makes it several.

    Attributes:
        finish_reason: as the engine said, in the route's own words.

    """

    text: str | None = None
    tool_calls: tuple[Mapping[str, str], ...] = ()
    finish_reason: str | None = None


def answer_of(path: str, given: bytes, *, is_stream: bool) -> Answer:
    """Read the answer of a route. What is no JSON of that route's says nothing."""
    if is_stream:
        return _streamed(path, given)
    body = parsed_json(given)
    return _whole(path, body) if isinstance(body, dict) else Answer()


def _whole(path: str, body: Data) -> Answer:
    form, reason = form_of(path), _reason(body)
    if form is None:
        texts = [x for choice in _first(body) if (x := member(choice, "text")) is not None]
        return Answer("".join(texts), (), reason)
    text = "".join(said for number, said in form.whole_texts(body) if number == 0)
    calls = [
        {"name": call.name, "arguments": call.arguments}
        for call in form.whole_calls(body)
        if call.key[0] == 0
    ]
    return Answer(text, tuple(calls[:MAX_CALLS]), reason)


def _first(body: Data) -> list[Data]:
    return [x for x in dicts(body.get("choices")) if not x.get("index")]


def _reason(body: Data) -> str | None:
    """Why a whole answer ended: of `choices`, `/v1/messages`, `/v1/responses`."""
    said = [member(x, "finish_reason") for x in _first(body)]
    return next(
        (x for x in (*said, member(body, "stop_reason"), member(body, "status")) if x), None
    )


def _streamed(path: str, given: bytes) -> Answer:
    form, reading = form_of(path), _Reading()
    for event in given.split(b"\n\n"):
        # Most events are one line.
        data = parsed_json(event[6:] if event.startswith(b"data: ") else data_line(event))
        if isinstance(data, dict):
            if form is None:
                reading.take_bare(data)
            else:
                reading.take(form, data)
    return reading.answer()


class _Reading:
    """A stream as far as it was read."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._calls: dict[Key, tuple[str, list[str]]] = {}
        self._reason: str | None = None

    def take_bare(self, data: Data) -> None:
        """Read an event of `/v1/completions`."""
        for choice in _first(data):
            self._texts.append(member(choice, "text") or "")
            self._reason = member(choice, "finish_reason") or self._reason

    def take(self, form: Form, data: Data) -> None:
        for piece in form.read(data):
            if piece.key[0] != 0:
                continue
            if piece.what is What.TEXT:
                self._texts.append(piece.text)
            elif piece.what is What.BEGIN and len(self._calls) < MAX_CALLS:
                self._calls[piece.key] = piece.text, []
            elif piece.what is What.ARGUMENTS and piece.key in self._calls:
                self._calls[piece.key][1].append(piece.text)
            elif piece.what is What.FINISH:
                self._reason = _word(data) or piece.text or self._reason

    def answer(self) -> Answer:
        calls = [
            {"name": name, "arguments": "".join(parts)} for name, parts in self._calls.values()
        ]
        has_any = self._texts or calls or self._reason
        return Answer("".join(self._texts) if has_any else None, tuple(calls), self._reason)


def _word(data: Data) -> str | None:
    """The status that a last event of `/v1/responses` says, as its whole answer does."""
    response: Any = data.get("response")
    return member(response, "status") if isinstance(response, dict) else None
