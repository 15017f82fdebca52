"""Scripted OpenAI responses."""

from __future__ import annotations

from random import Random
from typing import Any

from simulator.http.asks import Ask
from simulator.http.forms.base import event
from simulator.http.scripted import ScriptedChoice
from simulator.http.scripted_forms.base import ScriptedForm


class ScriptedResponses(ScriptedForm):
    """POST /v1/responses: items, one after the other.

    The items of the last event are made anew: their ids and the calls' ids are others than
    those of the events before it.
    """

    def __init__(self, ask: Ask, model_id: str, random: Random) -> None:
        super().__init__(ask, model_id, random)
        self.id = self._id("resp_")
        self._number = -1
        self._output = 0
        self._open: tuple[str, int] = ("", 0)
        self._item: dict[str, Any] = {}
        self._text = ""

    def begin(self, choice: ScriptedChoice, first: int, last: int) -> bytes:
        """created, in_progress, and the first tokens."""
        started = self._response("in_progress", [], None)
        out = self._event("response.created", response=started)
        out += self._event("response.in_progress", response=started)
        return out + self.delta(choice, first, last)

    def delta(self, choice: ScriptedChoice, first: int, last: int) -> bytes:
        message = choice.message(first, last)
        out = b""
        if message.reasoning is not None:
            out += self._in_item("reasoning") + self._piece(message.reasoning)
        if message.content:
            out += self._in_item("message") + self._piece(message.content)
        for number, name, arguments in message.calls:
            if name is not None:
                out += self._in_item("function_call", number, name)
            if arguments:
                out += self._piece(arguments)
        return out

    def end(self, choices: list[ScriptedChoice]) -> bytes:
        """The open item's end, and the whole response, whatever its status."""
        response = self.whole(choices)
        return self._close() + self._event("response.completed", response=response)

    def whole(self, choices: list[ScriptedChoice]) -> dict[str, Any]:
        choice = choices[0]
        reasoning, text, calls = choice.whole()
        output: list[dict[str, Any]] = []
        if reasoning:
            part = {"text": reasoning, "type": "reasoning_text"}
            output.append(_reasoning(self._id("rs_"), None, [part]))
        if text:
            output.append(_message(self._id("msg_"), "completed", [_text_part(text, None)]))
        for call in calls:
            output.append(self._call(call.name, self._id("fc_"), self._id("chatcmpl-tool-")))
            output[-1] |= {"arguments": call.arguments, "status": "completed"}
        usage = self._usage([choice])
        status = "incomplete" if choice.finish == "length" else "completed"
        shown = {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": {
                "cached_tokens": self.cached,
                "input_tokens_per_turn": [],
                "cached_tokens_per_turn": [],
            },
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {
                "reasoning_tokens": choice.reasoning_tokens,
                "tool_output_tokens": 0,
                "output_tokens_per_turn": [],
                "tool_output_tokens_per_turn": [],
            },
            "total_tokens": usage["total_tokens"],
        }
        return self._response(status, output, shown)

    def _in_item(self, kind: str, number: int = 0, name: str = "") -> bytes:
        if self._open == (kind, number):
            return b""
        out = self._close()
        self._open, self._text = (kind, number), ""
        item_id = self._id()
        place = {"output_index": self._output}
        if kind == "function_call":
            self._item = self._call(name, item_id, self._id("call_"))
            return out + self._event("response.output_item.added", **place, item=self._item)
        if kind == "reasoning":
            self._item = _reasoning(item_id, "in_progress", None)
            part, added = {"text": "", "type": "reasoning_text"}, "response.reasoning_part.added"
        else:
            self._item = _message(item_id, "in_progress", [])
            part, added = _text_part("", []), "response.content_part.added"
        out += self._event("response.output_item.added", **place, item=self._item)
        return out + self._event(added, **self._place(), part=part)

    def _piece(self, text: str) -> bytes:
        self._text += text
        match self._open[0]:
            case "function_call":
                kind = "response.function_call_arguments.delta"
                place = self._place()
                del place["content_index"]
                return self._event(kind, **place, delta=text)
            case "reasoning":
                return self._event("response.reasoning_text.delta", **self._place(), delta=text)
        return self._event("response.output_text.delta", **self._place(), delta=text, logprobs=[])

    def _close(self) -> bytes:
        kind, item, text, place = self._open[0], self._item, self._text, self._place()
        if not kind:
            return b""
        out = b""
        if kind == "function_call":
            item |= {"arguments": text}
            del place["content_index"]
            if text:
                done = "response.function_call_arguments.done"
                out += self._event(done, **place, arguments=text, name=item["name"])
        elif kind == "reasoning":
            part = {"text": text, "type": "reasoning_text"}
            item |= {"content": [part]}
            out += self._event("response.reasoning_text.done", **place, text=text)
            out += self._event("response.reasoning_part.done", **place, part=part)
        else:
            part = _text_part(text, None)
            item |= {"content": [part], "summary": []}
            out += self._event("response.output_text.done", **place, text=text, logprobs=[])
            out += self._event("response.content_part.done", **place, part=part)
        item = item | {"status": "completed"}
        out += self._event("response.output_item.done", output_index=self._output, item=item)
        self._open, self._output = ("", 0), self._output + 1
        return out

    def _place(self) -> dict[str, Any]:
        return {
            "item_id": self._item.get("id"),
            "output_index": self._output,
            "content_index": 0,
        }

    def _call(self, flat: str, item_id: str, call_id: str) -> dict[str, Any]:
        namespace, name = self.ask.namespaces.get(flat, (None, flat))
        return {
            "arguments": "",
            "call_id": call_id,
            "name": name,
            "type": "function_call",
            "id": item_id,
            "async": None,
            "caller": None,
            "namespace": namespace,
            "status": "in_progress",
        }

    def _event(self, kind: str, **members: Any) -> bytes:
        self._number += 1
        return event({**members, "sequence_number": self._number, "type": kind}, kind)

    def _response(self, status: str, output: list[Any], usage: Any) -> dict[str, Any]:
        cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
        given = {k: v for k, v in self.ask.echoed.items() if k in _ECHOED and v is not None}
        return {
            **_ECHOED,
            "max_output_tokens": self.ask.max_tokens,
            **given,
            "id": self.id,
            "created_at": self.created,
            "incomplete_details": cut,
            "model": self.model_id,
            "object": "response",
            "output": output,
            "status": status,
            "usage": usage,
        }


_ECHOED: dict[str, Any] = {
    "instructions": None,
    "metadata": None,
    "parallel_tool_calls": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "background": False,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "previous_response_id": None,
    "prompt": None,
    "reasoning": None,
    "service_tier": "auto",
    "text": None,
    "top_logprobs": None,
    "truncation": "disabled",
    "user": None,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "kv_transfer_params": None,
    "ec_transfer_params": None,
    "input_messages": None,
    "output_messages": None,
}
"""Fields of a response that repeat the request's, and what they are without."""


def _message(item_id: str, status: str, content: list[Any]) -> dict[str, Any]:
    return {
        "id": item_id,
        "content": content,
        "role": "assistant",
        "status": status,
        "type": "message",
        "phase": None,
    }


def _reasoning(item_id: str, status: str | None, content: list[Any] | None) -> dict[str, Any]:
    return {
        "id": item_id,
        "summary": [],
        "type": "reasoning",
        "content": content,
        "encrypted_content": None,
        "status": status,
    }


def _text_part(text: str, logprobs: list[Any] | None) -> dict[str, Any]:
    return {"annotations": [], "text": text, "type": "output_text", "logprobs": logprobs}
