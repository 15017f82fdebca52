"""Calls on `/v1/messages` (vllm/entrypoints/anthropic)."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

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
from serve_app.bodies.json_body import dump

_SAID = ("text", "thinking", "partial_json")


class MessagesForm:
    """`/v1/messages`."""

    def read(self, data: Data) -> Iterator[Piece]:
        kind, key = data.get("type"), (0, data.get("index") or 0)
        if kind == "content_block_start":
            block = part(data, "content_block")
            if block.get("type") == "tool_use":
                yield Piece(What.BEGIN, key, block.get("name") or "")
        elif kind == "content_block_delta":
            delta = part(data, "delta")
            if delta.get("type") == "text_delta":
                yield Piece(What.TEXT, (0, -1), delta.get("text") or "")
            elif delta.get("type") == "input_json_delta":
                yield Piece(What.ARGUMENTS, key, delta.get("partial_json") or "")
        elif kind == "content_block_stop":
            yield Piece(What.END, key)
        elif kind == "message_delta":
            yield Piece(What.FINISH, (0, -1), part(data, "delta").get("stop_reason") or "")

    def token_of(self, data: Data) -> str | None:
        if data.get("type") != "content_block_delta":
            return None
        delta = part(data, "delta")
        return next((x for name in _SAID if (x := member(delta, name))), None)

    def is_opening(self, data: Data) -> bool:
        return data.get("type") in ("message_start", "ping", "content_block_start")

    def split(self, data: Data) -> list[Data]:
        return [data]

    def index_of(self, data: Data) -> int:
        return int(data.get("index", -1))

    def said(self, data: Data, text: str) -> Data:
        return {**data, "delta": {**part(data, "delta"), "text": text}}

    def id_of(self, data: Data) -> str:
        return part(data, "content_block").get("id") or ""

    def events(self, begin: Data, call: MadeCall) -> list[Data]:  # noqa: ARG002 - as the other forms
        index = call.key[1]
        block = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": call.arguments}
        return [
            {"type": "content_block_start", "index": index, "content_block": block},
            {"type": "content_block_delta", "index": index, "delta": delta},
            {"type": "content_block_stop", "index": index},
        ]

    def new_call(self, finish: Data, number: int, call: MadeCall) -> list[Data]:
        return self.events(finish, MadeCall((0, number), call.id, call.name, call.arguments))

    def new_text(self, finish: Data, number: int, text: str) -> list[Data]:  # noqa: ARG002 - as the other forms
        block, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": text}
        return [
            {"type": "content_block_start", "index": number, "content_block": block},
            {"type": "content_block_delta", "index": number, "delta": delta},
            {"type": "content_block_stop", "index": number},
        ]

    def closed(self, data: Data, mended: Mended) -> Data:
        if data.get("type") != "message_delta":
            return data
        delta = dict(part(data, "delta"))
        if mended.added:
            delta["stop_reason"] = "tool_use"
        return with_usage({**data, "delta": delta}, mended, "input_tokens", "output_tokens")

    def whole_calls(self, answer: Data) -> list[MadeCall]:
        return [
            MadeCall(
                (0, at), block.get("id") or "", block.get("name") or "", _text(block.get("input"))
            )
            for at, block in enumerate(dicts(answer.get("content")))
            if block.get("type") == "tool_use"
        ]

    def whole_texts(self, answer: Data) -> list[tuple[int, str]]:
        blocks = dicts(answer.get("content"))
        return [(0, "".join(x.get("text") or "" for x in blocks if x.get("type") == "text"))]

    def whole_finish(self, answer: Data) -> list[tuple[int, bool, bool]]:
        reason = answer.get("stop_reason")
        return [(0, reason == "tool_use", reason == "max_tokens")]

    def whole_mended(self, answer: Data, mended: Mended) -> Data:
        content = []
        for at, block in enumerate(dicts(answer.get("content"))):
            new = mended.calls.get((0, at))
            if (0, at) in mended.dropped or (0 in mended.texts and block.get("type") == "text"):
                continue
            call = {"name": new.name, "input": orjson.loads(new.arguments)} if new else {}
            content.append({**block, **call})
        if mended.texts.get(0):
            content.insert(0, {"type": "text", "text": mended.texts[0]})
        answer = {**answer, "content": content}
        for added in mended.added.get(0, ()):
            given = orjson.loads(added.arguments)
            block = {"type": "tool_use", "id": added.id, "name": added.name, "input": given}
            content.append(block)
            answer["stop_reason"] = "tool_use"
        return with_usage(answer, mended, "input_tokens", "output_tokens")


def _text(given: object) -> str:
    return dump({} if given is None else given).decode()
