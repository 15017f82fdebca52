"""Calls on `/v1/chat/completions` (vllm/entrypoints/openai/chat_completion)."""

from __future__ import annotations

from collections.abc import Iterator

from serve_app.agents.forms.form import (
    Data,
    MadeCall,
    Mended,
    Piece,
    What,
    dicts,
    member,
    part,
    with_usage,
)

_SAID = ("content", "reasoning", "reasoning_content")


class ChatForm:
    """`/v1/chat/completions`."""

    def read(self, data: Data) -> Iterator[Piece]:
        for choice in dicts(data.get("choices")):
            answer, delta = choice.get("index") or 0, part(choice, "delta")
            if delta.get("content"):
                yield Piece(What.TEXT, (answer, -1), delta["content"])
            for call in dicts(delta.get("tool_calls")):
                key, function = (answer, call.get("index") or 0), part(call, "function")
                if function.get("name"):
                    yield Piece(What.BEGIN, key, function["name"])
                if function.get("arguments"):
                    yield Piece(What.ARGUMENTS, key, function["arguments"])
            if choice.get("finish_reason"):
                yield Piece(What.FINISH, (answer, -1), choice["finish_reason"])

    def token_of(self, data: Data) -> str | None:
        choices = dicts(data.get("choices"))
        if len(choices) != 1 or choices[0].get("finish_reason"):
            return None
        delta = part(choices[0], "delta")
        calls = dicts(delta.get("tool_calls"))
        if calls:
            return member(part(calls[0], "function"), "arguments")
        return next((x for name in _SAID if (x := member(delta, name))), None)

    def is_opening(self, data: Data) -> bool:
        return all(
            not choice.get("finish_reason")
            and not any(value for name, value in part(choice, "delta").items() if name != "role")
            for choice in dicts(data.get("choices"))
        )

    def split(self, data: Data) -> list[Data]:
        parts = []
        for choice in dicts(data.get("choices")):
            delta, rest = part(choice, "delta"), {**choice, "finish_reason": None}
            calls = dicts(delta.get("tool_calls"))
            said = {k: v for k, v in delta.items() if k != "tool_calls" and v is not None}
            if said:
                parts.append({**data, "choices": [{**rest, "delta": said}]})
            parts += [
                {**data, "choices": [{**rest, "delta": {"tool_calls": [call]}}]} for call in calls
            ]
            if choice.get("finish_reason"):
                parts.append({**data, "choices": [{**choice, "delta": {}}]})
        return parts or [data]

    def index_of(self, data: Data) -> int:
        choices = dicts(data.get("choices"))
        calls = [x for c in choices for x in dicts(part(c, "delta").get("tool_calls"))]
        return max((call.get("index") or 0 for call in calls), default=-1)

    def said(self, data: Data, text: str) -> Data:
        choices = [
            {**choice, "delta": {**part(choice, "delta"), "content": text}}
            for choice in dicts(data.get("choices"))
        ]
        return {**data, "choices": choices}

    def id_of(self, data: Data) -> str:
        choices = dicts(data.get("choices"))
        calls = [x for c in choices for x in dicts(part(c, "delta").get("tool_calls"))]
        return next((call["id"] for call in calls if call.get("id")), "")

    def events(self, begin: Data, call: MadeCall) -> list[Data]:
        function = {"name": call.name, "arguments": ""}
        head = {"index": call.key[1], "id": call.id, "type": "function", "function": function}
        rest = {"index": call.key[1], "function": {"arguments": call.arguments}}
        return [self._delta(begin, call.key[0], x) for x in (head, rest)]

    def new_call(self, finish: Data, number: int, call: MadeCall) -> list[Data]:
        return self.events(
            finish, MadeCall((call.key[0], number), call.id, call.name, call.arguments)
        )

    def new_text(self, finish: Data, number: int, text: str) -> list[Data]:  # noqa: ARG002 - as the other forms
        choices = [
            {**choice, "delta": {"content": text}, "finish_reason": None}
            for choice in dicts(finish.get("choices"))
        ]
        return [{**{k: v for k, v in finish.items() if k != "usage"}, "choices": choices}]

    def _delta(self, like: Data, answer: int, call: Data) -> Data:
        choice = {"index": answer, "delta": {"tool_calls": [call]}, "finish_reason": None}
        return {**{k: v for k, v in like.items() if k != "usage"}, "choices": [choice]}

    def closed(self, data: Data, mended: Mended) -> Data:
        choices = [
            {**choice, "finish_reason": "tool_calls"}
            if choice.get("finish_reason") and (choice.get("index") or 0) in mended.added
            else choice
            for choice in dicts(data.get("choices"))
        ]
        return with_usage(
            {**data, "choices": choices}, mended, "prompt_tokens", "completion_tokens"
        )

    def whole_calls(self, answer: Data) -> list[MadeCall]:
        return [
            MadeCall((choice.get("index") or 0, number), call.get("id") or "", *_function(call))
            for choice in dicts(answer.get("choices"))
            for number, call in enumerate(dicts(part(choice, "message").get("tool_calls")))
        ]

    def whole_texts(self, answer: Data) -> list[tuple[int, str]]:
        return [
            (choice.get("index") or 0, part(choice, "message").get("content") or "")
            for choice in dicts(answer.get("choices"))
        ]

    def whole_finish(self, answer: Data) -> list[tuple[int, bool, bool]]:
        return [
            (
                choice.get("index") or 0,
                choice.get("finish_reason") == "tool_calls",
                choice.get("finish_reason") == "length",
            )
            for choice in dicts(answer.get("choices"))
        ]

    def whole_mended(self, answer: Data, mended: Mended) -> Data:
        choices = [self._mended(choice, mended) for choice in dicts(answer.get("choices"))]
        return with_usage(
            {**answer, "choices": choices}, mended, "prompt_tokens", "completion_tokens"
        )

    def _mended(self, choice: Data, mended: Mended) -> Data:
        number, message = choice.get("index") or 0, dict(part(choice, "message"))
        calls = []
        for at, call in enumerate(dicts(message.get("tool_calls"))):
            new = mended.calls.get((number, at))
            function = {"name": new.name, "arguments": new.arguments} if new else call["function"]
            if (number, at) not in mended.dropped:
                calls.append({**call, "function": function})
        choice = {**choice, "message": message}
        for added in mended.added.get(number, ()):
            function = {"name": added.name, "arguments": added.arguments}
            calls.append({"id": added.id, "type": "function", "function": function})
            choice["finish_reason"] = "tool_calls"
        if calls or "tool_calls" in message:
            message["tool_calls"] = calls
        if number in mended.texts:
            message["content"] = mended.texts[number] or None
        return choice


def _function(call: Data) -> tuple[str, str]:
    function = part(call, "function")
    return function.get("name") or "", function.get("arguments") or ""
