"""OpenAI responses."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random
from typing import Any

from simulator.http.answers import Choice
from simulator.http.asks import Ask
from simulator.http.forms.base import Base, event, identifier


class ResponseForm(Base):
    """POST /v1/responses: numbered events of the Responses form."""

    def __init__(self, ask: Ask, model_id: str, random: Random) -> None:
        super().__init__(ask, model_id, random)
        self.id = identifier("resp_", random)
        self.item_id = identifier("msg_" if ask.tool is None else "fc_", random)
        self.created = int(datetime.now(UTC).timestamp())
        self._number = -1

    def _event(self, kind: str, **members: Any) -> bytes:
        self._number += 1
        return event({"type": kind, "sequence_number": self._number, **members}, kind)

    def _response(self, status: str, output: list[Any], usage: Any = None) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "model": self.model_id,
            "output": output,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "incomplete_details": {"reason": "max_output_tokens"}
            if status == "incomplete"
            else None,
            "usage": usage,
        }

    def _item(self, text: str, status: str) -> dict[str, Any]:
        if self.ask.tool is not None:
            return {"id": self.item_id, "type": "function_call", "call_id": f"call_{self.item_id}",
                    "name": self.ask.tool, "arguments": text, "status": status}  # fmt: skip
        part = {"type": "output_text", "text": text, "annotations": []}
        return {"id": self.item_id, "type": "message", "role": "assistant", "status": status,
                "content": [part] if text else []}  # fmt: skip

    def _place(self) -> dict[str, Any]:
        place: dict[str, Any] = {"item_id": self.item_id, "output_index": 0}
        return place if self.ask.tool is not None else place | {"content_index": 0}

    def begin(self, choice: Choice, first: int, last: int) -> bytes:
        """created, in_progress, and the start of the output item."""
        started = self._response("in_progress", [])
        out = self._event("response.created", response=started)
        out += self._event("response.in_progress", response=started)
        item = self._item("", "in_progress")
        out += self._event("response.output_item.added", output_index=0, item=item)
        if self.ask.tool is None:
            part = {"type": "output_text", "text": "", "annotations": []}
            out += self._event("response.content_part.added", **self._place(), part=part)
        return out + self.delta(choice, first, last)

    def delta(self, choice: Choice, first: int, last: int) -> bytes:
        """One piece of text or arguments."""
        text = choice.text(first, last)
        if self.ask.tool is not None:
            return self._event(
                "response.function_call_arguments.delta", **self._place(), delta=text
            )
        return self._event("response.output_text.delta", **self._place(), delta=text, logprobs=[])

    def end(self, choices: list[Choice]) -> bytes:
        """The done events and the whole response."""
        text, place = choices[0].text(), self._place()
        if self.ask.tool is not None:
            out = self._event("response.function_call_arguments.done", **place, arguments=text)
        else:
            part = {"type": "output_text", "text": text, "annotations": []}
            out = self._event("response.output_text.done", **place, text=text, logprobs=[])
            out += self._event("response.content_part.done", **place, part=part)
        item = self._item(text, "completed")
        out += self._event("response.output_item.done", output_index=0, item=item)
        response = self.whole(choices)
        # As vLLM: this event, whatever the status in it.
        return out + self._event("response.completed", response=response)

    def whole(self, choices: list[Choice]) -> dict[str, Any]:
        choice = choices[0]
        prompt, output = len(self.ask.prompts[0]), len(choice.tokens)
        usage = {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": self.cached},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + output,
        }
        status = "incomplete" if choice.finish == "length" else "completed"
        return self._response(status, [self._item(choice.text(), status)], usage)
