"""What a lane said to a request, of each API that answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from evals.replay.tool_f1 import ToolCall, calls_of

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Said:
    """One answer.

    Attributes:
        finish: as the engine said it; `refused: CODE` where the lane could not answer at all.
        model: id of the model that answered.

    """

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    finish: str | None = None
    model: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON, which `said_from` reads."""
        calls = [{"name": x.name, "arguments": x.arguments} for x in self.calls]
        return {"text": self.text, "calls": calls, "finish": self.finish, "model": self.model}


def said_from(told: Json) -> Said:
    """Read what `Said.to_dict` made."""
    calls = calls_of(told.get("calls", ()))
    return Said(told.get("text") or "", calls, told.get("finish"), told.get("model"))


def said_of(api: str, answer: Json) -> Said:
    """Read the body of an answer that was not streamed.

    Raises ValueError where it has not the API's form.
    """
    try:
        if api == MESSAGES:
            return _of_message(answer)
        if api == RESPONSES:
            return _of_response(answer)
        return _of_choice(answer["choices"][0])
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError("not the form of an answer") from error


def _of_choice(choice: Json) -> Said:
    finish = choice.get("finish_reason")
    if "message" not in choice:
        return Said(str(choice["text"] or ""), (), finish)
    message = choice["message"]
    calls = calls_of(message.get("tool_calls") or ())
    return Said(str(message.get("content") or ""), calls, finish)


def _of_message(answer: Json) -> Said:
    blocks = answer["content"]
    texts = [x["text"] for x in blocks if x["type"] == "text"]
    calls = calls_of(
        {"name": x["name"], "arguments": x["input"]} for x in blocks if x["type"] == "tool_use"
    )
    return Said("".join(texts), calls, answer.get("stop_reason"))


def _of_response(answer: Json) -> Said:
    items = answer["output"]
    calls = calls_of(x for x in items if x["type"] == "function_call")
    return Said("".join(_output_texts(items)), calls, answer.get("status"))


def _output_texts(items: Any) -> Iterator[str]:
    for item in items:
        if item["type"] == "message":
            yield from (x["text"] for x in item["content"] if x["type"] == "output_text")
