"""Answers of a script on their way through the simulated engine."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from simulator.http.answers import Choice
from simulator.http.asks import Ask
from simulator.script.answer import Answer
from simulator.script.conversation import (
    Conversation,
    read_chat,
    read_messages,
    read_responses,
)
from simulator.script.deltas import Delta, Message, put_together, tokens_of, whole_calls

READERS: dict[str, Callable[[dict[str, Any]], Conversation]] = {
    "/v1/chat/completions": read_chat,
    "/v1/messages": read_messages,
    "/v1/responses": read_responses,
}
"""Routes on which a script answers."""


@dataclass(slots=True)
class ScriptedChoice(Choice):
    """A choice of which each token's part in the answer is known.

    Attributes:
        deltas: what each token adds.
        answer: all that would be said, had it room.
        demanded: `required` or a tool's name where the request demands a call, else "".

    """

    deltas: tuple[Delta | None, ...] = ()
    answer: Answer = field(default_factory=Answer)
    demanded: str = ""

    def message(self, first: int = 0, last: int | None = None) -> Message:
        """What the tokens [first, last) add."""
        return put_together(self.deltas[first:last])

    def finish_reason(self, *, streamed: bool) -> str:
        """OpenAI's reason, as vLLM finds it.

        A stream that has shown a call ends because of it, even where it ran out of room; a
        whole answer does only with calls that are whole. A tool that is demanded by name
        ends an answer as any text does.
        """
        if self.answer.says_calls:
            return "tool_calls"
        if self.demanded not in ("", "required"):
            return self.finish
        calls = self.message().calls if streamed else self.whole()[2]
        return "tool_calls" if calls else self.finish

    def whole(self) -> tuple[str | None, str | None, list[Any]]:
        """Reasoning, content and calls of a whole answer.

        Where the room ends within a call there is none: all of it is content, as vLLM's
        parser for Hermes does with what it cannot read.
        """
        message = self.message()
        text = self.text()
        if self.answer.calls and text.count("<tool_call>") != text.count("</tool_call>"):
            return message.reasoning, text.rpartition("</think>")[2], []
        return message.reasoning, message.content, whole_calls(message)

    @property
    def reasoning_tokens(self) -> int:
        return sum(delta is not None and delta.kind == "reasoning" for delta in self.deltas)


def scripted_choices(ask: Ask, answer: Answer, demanded: str, window: int) -> list[ScriptedChoice]:
    """The answer as the choices of a request: all are the same."""
    tokens = tokens_of(answer)
    prompt: array[int] = ask.prompts[0]
    room = window - len(prompt)
    most = max(1, min(ask.max_tokens or room, room))
    shown = tokens[:most]
    finish = "stop" if len(shown) == len(tokens) else "length"
    pieces, deltas = [piece for piece, _ in shown], tuple(delta for _, delta in shown)
    return [
        ScriptedChoice(index, prompt, list(pieces), finish, None, deltas, answer, demanded)
        for index in range(ask.copies)
    ]
