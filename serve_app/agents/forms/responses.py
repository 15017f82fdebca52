"""Calls on `/v1/responses` (vllm/entrypoints/openai/responses)."""

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

_OPENING = frozenset(
    f"response.{kind}"
    for kind in (
        "created",
        "queued",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "reasoning_part.added",
    )
)


_TOKENS = frozenset(
    f"response.{kind}.delta"
    for kind in (
        "output_text",
        "reasoning_text",
        "reasoning_summary_text",
        "function_call_arguments",
    )
)


class ResponsesForm:
    """`/v1/responses`."""

    def read(self, data: Data) -> Iterator[Piece]:
        kind, key = data.get("type"), (0, data.get("output_index") or 0)
        item = part(data, "item")
        is_call = item.get("type") == "function_call"
        if kind == "response.output_item.added" and is_call:
            yield Piece(What.BEGIN, key, item.get("name") or "")
        elif kind == "response.function_call_arguments.delta":
            yield Piece(What.ARGUMENTS, key, data.get("delta") or "")
        elif kind == "response.output_item.done" and is_call:
            yield Piece(What.END, key)
        elif kind == "response.output_text.delta":
            yield Piece(What.TEXT, (0, -1), data.get("delta") or "")
        elif kind in ("response.completed", "response.incomplete"):
            is_short = kind == "response.incomplete"
            yield Piece(What.FINISH, (0, -1), "length" if is_short else "stop")

    def token_of(self, data: Data) -> str | None:
        return member(data, "delta") if data.get("type") in _TOKENS else None

    def is_opening(self, data: Data) -> bool:
        return data.get("type") in _OPENING

    def split(self, data: Data) -> list[Data]:
        return [data]

    def index_of(self, data: Data) -> int:
        return int(data.get("output_index", -1))

    def said(self, data: Data, text: str) -> Data:
        return {**data, "delta": text}

    def id_of(self, data: Data) -> str:
        return part(data, "item").get("call_id") or ""

    def events(self, begin: Data, call: MadeCall) -> list[Data]:
        old = part(begin, "item")
        return self._item(begin, old.get("id") or call.id, call, old)

    def new_call(self, finish: Data, number: int, call: MadeCall) -> list[Data]:
        made = MadeCall((0, number), call.id, call.name, call.arguments)
        return self._item(finish, f"fc_{call.id}", made, {})

    def new_text(self, finish: Data, number: int, text: str) -> list[Data]:
        item = _message_item(part(finish, "response"), text)
        at = {"output_index": number, "sequence_number": finish.get("sequence_number", 0)}
        inside = {**at, "item_id": item["id"], "content_index": 0}
        empty = {**item["content"][0], "text": ""}
        begun = {**item, "content": [], "status": "in_progress"}
        kind = "response.output_text"
        return [
            {**at, "type": "response.output_item.added", "item": begun},
            {**inside, "type": "response.content_part.added", "part": empty},
            {**inside, "type": f"{kind}.delta", "delta": text, "logprobs": []},
            {**inside, "type": f"{kind}.done", "text": text, "logprobs": []},
            {**inside, "type": "response.content_part.done", "part": item["content"][0]},
            {**at, "type": "response.output_item.done", "item": item},
        ]

    def _item(self, like: Data, item_id: str, call: MadeCall, old: Data) -> list[Data]:
        at = {"output_index": call.key[1], "sequence_number": like.get("sequence_number", 0)}
        open_item = {**old, **_function_item(item_id, call), "arguments": ""}
        done_item = {**old, **_function_item(item_id, call), "status": "completed"}
        inside = {**at, "item_id": item_id}
        kind = "response.function_call_arguments"
        return [
            {
                **at,
                "type": "response.output_item.added",
                "item": {**open_item, "status": "in_progress"},
            },
            {**inside, "type": f"{kind}.delta", "delta": call.arguments},
            {**inside, "type": f"{kind}.done", "arguments": call.arguments, "name": call.name},
            {**at, "type": "response.output_item.done", "item": done_item},
        ]

    def closed(self, data: Data, mended: Mended) -> Data:
        kind = data.get("type")
        text = mended.texts.get(0)
        if text is not None:
            if kind == "response.output_text.done":
                return {**data, "text": text}
            if kind == "response.content_part.done":
                return {**data, "part": {**(data.get("part") or {}), "text": text}}
            if kind == "response.output_item.done":
                return {**data, "item": _with_text(part(data, "item"), text)}
        if kind in ("response.completed", "response.incomplete"):
            return {**data, "response": self.whole_mended(part(data, "response"), mended)}
        return data

    def whole_calls(self, answer: Data) -> list[MadeCall]:
        return [
            MadeCall(
                (0, at),
                item.get("call_id") or "",
                item.get("name") or "",
                item.get("arguments") or "",
            )
            for at, item in enumerate(dicts(answer.get("output")))
            if item.get("type") == "function_call"
        ]

    def whole_texts(self, answer: Data) -> list[tuple[int, str]]:
        messages = [x for x in dicts(answer.get("output")) if x.get("type") == "message"]
        parts = [part for item in messages for part in dicts(item.get("content"))]
        return [(0, "".join(part.get("text") or "" for part in parts))]

    def whole_finish(self, answer: Data) -> list[tuple[int, bool, bool]]:
        return [(0, False, answer.get("status") == "incomplete")]

    def whole_mended(self, answer: Data, mended: Mended) -> Data:
        output = []
        for at, item in enumerate(dicts(answer.get("output"))):
            new = mended.calls.get((0, at))
            call = {"name": new.name, "arguments": new.arguments} if new else {}
            text = mended.texts.get(0)
            if (0, at) not in mended.dropped:
                output.append({**(item if text is None else _with_text(item, text)), **call})
        if mended.said and not any(item.get("type") == "message" for item in output):
            output.append(_message_item(answer, mended.texts[0]))
        output += [
            {**_function_item(f"fc_{added.id}", added), "status": "completed"}
            for added in mended.added.get(0, ())
        ]
        return with_usage({**answer, "output": output}, mended, "input_tokens", "output_tokens")


def _function_item(item_id: str, call: MadeCall) -> Data:
    return {
        "id": item_id,
        "type": "function_call",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
    }


def _message_item(answer: Data, text: str) -> Data:
    said: Data = {"type": "output_text", "text": text, "annotations": [], "logprobs": None}
    return {
        "id": f"msg_{answer.get('id')}",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [said],
    }


def _with_text(item: Data, text: str) -> Data:
    parts = dicts(item.get("content"))
    if item.get("type") != "message" or not parts:
        return item
    return {**item, "content": [{**parts[0], "text": text}, *parts[1:]]}
