"""One example of each row of the tables of refusals, and what a bare engine does with it.

`python -m tests.refused_bodies http://127.0.0.1:PORT MODEL` sends every `FAULT` to a bare
`vllm serve` and prints what it answers (all of them 5xx with the pinned vLLM).
`DEADLY` bodies end the engine's process, or take all of the machine's memory: send them
to one that nobody needs, with `--deadly`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import reduce
from typing import Any

import httpx

from tests.wrong_bodies import (
    CHAT,
    COMPLETIONS,
    COUNT,
    EMBEDDINGS,
    FLAT_TOOL,
    HI,
    MESSAGES,
    MESSAGES_TOOL,
    RERANK,
    RESPONSES,
    SCORE,
    SMALLEST,
)

FAULT, DEADLY, IGNORED, COUNTED = "5xx", "dies", "is ignored", "is counted wrongly"


@dataclass(frozen=True)
class Row:
    """A body that is refused.

    Attributes:
        fields: beside those of the smallest valid body.
        param: the field that the refusal names.
        harm: what the engine does with it.

    """

    path: str
    fields: dict[str, Any]
    param: str
    harm: str

    @property
    def body(self) -> dict[str, Any]:
        """The whole body."""
        return {**SMALLEST[self.path], **self.fields}

    def __str__(self) -> str:
        """The name of the test."""
        return f"{self.path} {json.dumps(self.fields)[:70]}"


def _nested(levels: int) -> dict[str, Any]:
    start: dict[str, Any] = {"type": "string"}
    return reduce(
        lambda inner, _: {"type": "object", "properties": {"a": inner}}, range(levels), start
    )


def _input(item: dict[str, Any]) -> dict[str, Any]:
    return {"input": [HI, item, HI]}


def _forced(parameters: dict[str, Any]) -> dict[str, Any]:
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    return {"tools": [tool], "tool_choice": "required"}


BIG = 2**64
NAMED = {"tool_choice": {"type": "function", "function": {"name": "f"}}}
REASONING = {"type": "reasoning", "id": "r", "summary": []}
SPOKEN = {"type": "message", "role": "assistant"}
MANY = {"type": "array", "minItems": 10**9}
ENDLESS = {
    "type": "array",
    "prefixItems": [{"type": "string"}],
    "minItems": 10**5,
    "maxItems": 2**31 - 1,
}
WIDE = {"type": "object", "properties": {str(i): {"type": "string"} for i in range(3000)}}
IN_JSON_SCHEMA = {"name": "a", "schema": MANY}

FAULTS = (
    *(
        Row(path, {"structured_outputs": value}, "structured_outputs", FAULT)
        for path in (CHAT, COMPLETIONS)
        for value in (True, 1, 1.5, "x", [], [{}])
    ),
    *(Row(path, {"top_k": BIG}, "top_k", FAULT) for path in (CHAT, COMPLETIONS, RESPONSES)),
    Row(MESSAGES, {"top_k": BIG}, "top_k", FAULT),
    Row(CHAT, {"stream_interval": BIG}, "stream_interval", FAULT),
    Row(CHAT, {"routed_experts_prompt_start": BIG}, "routed_experts_prompt_start", FAULT),
    Row(
        CHAT,
        {"repetition_detection": {"max_pattern_size": BIG, "min_count": 2}},
        "repetition_detection",
        FAULT,
    ),
    *(Row(CHAT, {"stop": value}, "stop", FAULT) for value in ("\ud800", ["a", "\ud83d"])),
    Row(MESSAGES, {"stop_sequences": ["\udfff"]}, "stop_sequences", FAULT),
    Row(CHAT, {"bad_words": ["\ud800"]}, "bad_words", FAULT),
    Row(RESPONSES, {"request_id": "\ud800"}, "request_id", FAULT),
    Row(COMPLETIONS, {"session_id": "\ud800"}, "session_id", FAULT),
    Row(
        CHAT,
        {"structured_outputs": {"json": "[" * 5000 + "]" * 5000}},
        "structured_outputs",
        FAULT,
    ),
    Row(RESPONSES, {"structured_outputs": {"structural_tag": ""}}, "structured_outputs", FAULT),
    Row(CHAT, {"tools": [{}], **NAMED}, "tools", FAULT),
    Row(CHAT, {"tools": [{"type": "function", "function": {}}], **NAMED}, "tools", FAULT),
    Row(RESPONSES, _input({"type": "item_reference", "id": "x"}), "input", FAULT),
    Row(RESPONSES, _input({**REASONING, "summary": ["x"]}), "input", FAULT),
    Row(RESPONSES, _input({**REASONING, "content": "x"}), "input", FAULT),
    Row(RESPONSES, _input({**SPOKEN, "content": []}), "input", FAULT),
    Row(
        RESPONSES,
        _input({**SPOKEN, "content": [{"type": "refusal", "refusal": "No."}]}),
        "input",
        FAULT,
    ),
    Row(
        CHAT,
        {"structured_outputs": {"json": {"type": "string", "minLength": -1}}},
        "structured_outputs",
        FAULT,
    ),
    *(
        Row(path, {"structured_outputs": grammar}, "structured_outputs", FAULT)
        for path in (CHAT, COMPLETIONS, RESPONSES)
        for grammar in (
            {"choice": ["a", "b\x00"]},
            {"choice": ["a\nb"]},
            {"json": {"type": "object", "properties": {"a": False}}},
            {"json": {"type": "array", "prefixItems": [False]}},
        )
    ),
)
DEATHS = (
    Row(CHAT, {"structured_outputs": {"json": WIDE}}, "structured_outputs", DEADLY),
    Row(CHAT, {"structured_outputs": {"json": MANY}}, "structured_outputs", DEADLY),
    Row(COMPLETIONS, {"structured_outputs": {"json": ENDLESS}}, "structured_outputs", DEADLY),
    Row(
        CHAT,
        {"structured_outputs": {"json": {"type": "array", "maxItems": 10**19}}},
        "structured_outputs",
        DEADLY,
    ),
    Row(CHAT, {"structured_outputs": {"json": json.dumps(MANY)}}, "structured_outputs", DEADLY),
    Row(
        CHAT,
        {"response_format": {"type": "json_schema", "json_schema": IN_JSON_SCHEMA}},
        "response_format",
        DEADLY,
    ),
    Row(
        RESPONSES,
        {"text": {"format": {"type": "json_schema", **IN_JSON_SCHEMA}}},
        "text",
        DEADLY,
    ),
    Row(
        MESSAGES,
        {"output_config": {"format": {"type": "json_schema", "schema": MANY}}},
        "output_config",
        DEADLY,
    ),
    Row(CHAT, _forced(MANY), "tools", DEADLY),
    Row(CHAT, _forced(_nested(190)), "tools", DEADLY),
    Row(CHAT, {"structured_outputs": {"json": _nested(190)}}, "structured_outputs", DEADLY),
)
EMPTY_PROMISES = (
    *(
        Row(RESPONSES, {"tools": [{"type": kind}]}, "tools", IGNORED)
        for kind in (
            "web_search",
            "web_search_preview",
            "file_search",
            "code_interpreter",
            "computer_use_preview",
            "image_generation",
            "mcp",
            "local_shell",
            "shell",
            "apply_patch",
            "custom",
        )
    ),
    Row(RESPONSES, {"tools": [FLAT_TOOL, {"type": "file_search"}]}, "tools", IGNORED),
    Row(
        RESPONSES,
        {"tools": [FLAT_TOOL, {"type": "namespace", "tools": [{"type": "mcp"}]}]},
        "tools",
        IGNORED,
    ),
    Row(
        RESPONSES,
        {"tools": [{"type": "namespace", "name": "s", "tools": [{"type": "custom"}]}]},
        "tools",
        IGNORED,
    ),
    Row(RESPONSES, {"tool_choice": {"type": "web_search_preview"}}, "tool_choice", IGNORED),
    Row(RESPONSES, {"conversation": "conv_1"}, "conversation", IGNORED),
    Row(RESPONSES, {"conversation": {"id": "conv_1"}}, "conversation", IGNORED),
    Row(RESPONSES, {"background": True}, "background", IGNORED),
    Row(RESPONSES, {"store": True}, "store", IGNORED),
    Row(RESPONSES, {"previous_response_id": "resp_1"}, "previous_response_id", IGNORED),
    Row(CHAT, {"functions": [{"name": "f", "parameters": {}}]}, "functions", IGNORED),
    Row(CHAT, {"function_call": {"name": "f"}}, "function_call", IGNORED),
    Row(CHAT, {"web_search_options": {}}, "web_search_options", IGNORED),
    Row(CHAT, {"modalities": ["text", "audio"]}, "modalities", IGNORED),
    Row(CHAT, {"audio": {"voice": "alloy", "format": "wav"}}, "audio", IGNORED),
    Row(MESSAGES, {"mcp_servers": [{"type": "url", "url": "x"}]}, "mcp_servers", IGNORED),
    Row(MESSAGES, {"container": "c"}, "container", IGNORED),
    *(
        Row(path, {"tools": [MESSAGES_TOOL, {"type": kind, "name": "x"}]}, "tools", IGNORED)
        for path in (MESSAGES, COUNT)
        for kind in ("computer_20250124", "bash_20250124", "web_search", "web_search_20250305x")
    ),
    *(
        Row(path, {"tools": [{"type": "web_search_20250305", "name": "x"}]}, "tools", IGNORED)
        for path in (MESSAGES, COUNT)
    ),
    *(
        Row(
            path,
            {
                "tools": [MESSAGES_TOOL, {"type": "web_search_20250305", "name": "web_search"}],
                "tool_choice": {"type": "tool", "name": "web_search"},
            },
            "tool_choice",
            IGNORED,
        )
        for path in (MESSAGES, COUNT)
    ),
)
MISCOUNTED = (
    *(
        Row(path, {"stream": value}, "stream", COUNTED)
        for path in (CHAT, COMPLETIONS, RESPONSES, MESSAGES)
        for value in ("true", "off", 1, 0)
    ),
    *(
        Row(path, {"stream": True, "stream_options": {name: value}}, "stream_options", COUNTED)
        for path in (CHAT, COMPLETIONS)
        for name in ("include_usage", "continuous_usage_stats")
        for value in ("off", "true", 1, [])
    ),
    *(
        Row(path, {"n": value}, "n", COUNTED)
        for path in (CHAT, COMPLETIONS)
        for value in ("2", True, 1.5)
    ),
    *(
        Row(path, {name: value}, name, COUNTED)
        for path, name in (
            (CHAT, "max_tokens"),
            (CHAT, "max_completion_tokens"),
            (COMPLETIONS, "max_tokens"),
            (RESPONSES, "max_output_tokens"),
            (MESSAGES, "max_tokens"),
        )
        for value in ("300", True, 0, -1, 1.5, [16])
    ),
    *(
        Row(path, {"use_beam_search": value, "n": 4}, "use_beam_search", COUNTED)
        for path in (CHAT, COMPLETIONS)
        for value in (True, "true", 1)
    ),
    *(
        Row(CHAT, {"stream": True, "stream_interval": x}, "stream_interval", COUNTED)
        for x in (2, 50)
    ),
    Row(COMPLETIONS, {"echo": "off", "max_tokens": 5}, "echo", COUNTED),
    Row(CHAT, {"min_tokens": "150"}, "min_tokens", COUNTED),
    Row(CHAT, {"ignore_eos": "off"}, "ignore_eos", COUNTED),
    Row(CHAT, {"return_token_ids": "off"}, "return_token_ids", COUNTED),
)
TEXTS = (
    *(
        Row(EMBEDDINGS, {"input": given}, "input", COUNTED)
        for given in ("", [], ["Hi", ""], [[]], [[1], []], [True], ["Hi", 7], {"text": "Hi"}, 7)
    ),
    Row(EMBEDDINGS, {"input": ["\ud800"]}, "input", FAULT),
    Row(EMBEDDINGS, {"input": [{"role": "user", "content": "Hi"}]}, "input", COUNTED),
    Row(EMBEDDINGS, {"messages": [HI]}, "messages", COUNTED),
    # Neither has a usage with it.
    *(
        Row(EMBEDDINGS, {"encoding_format": form}, "encoding_format", COUNTED)
        for form in ("bytes", "bytes_only")
    ),
    *(
        Row(path, {"padding": "max_length"}, "padding", COUNTED)
        for path in (EMBEDDINGS, SCORE, RERANK)
    ),
    Row(SCORE, {"text_1": "Hi", "text_2": "Ho"}, "queries", COUNTED),
    Row(SCORE, {"items": ["Hi"]}, "queries", COUNTED),
    Row(SCORE, {"documents": None}, "documents", COUNTED),
    Row(SCORE, {"documents": ["a", ""]}, "documents", COUNTED),
    Row(RERANK, {"query": ""}, "query", COUNTED),
    Row(RERANK, {"query": ["Hi"]}, "query", COUNTED),
    Row(RERANK, {"documents": []}, "documents", COUNTED),
    Row(RERANK, {"documents": [{"content": [{"type": "text"}]}]}, "documents", COUNTED),
    *(Row(path, {"stream": True}, "stream", IGNORED) for path in (EMBEDDINGS, SCORE, RERANK)),
)
"""Of what is embedded or compared."""

ROWS = TEXTS + FAULTS + DEATHS + EMPTY_PROMISES + MISCOUNTED


def main(url: str, model: str, *flags: str) -> None:
    """Show what a bare engine does with the rows that it should not see."""
    rows = FAULTS + (DEATHS if "--deadly" in flags else ())
    for row in rows:
        # A connection of its own: the engine closes the one on which it failed.
        try:
            raw = json.dumps({**row.body, "model": model})
            form = {"content-type": "application/json"}
            answer = httpx.post(url + row.path, content=raw, headers=form, timeout=60)
            said = f"{answer.status_code} {answer.text[:80]}"
        except httpx.HTTPError as error:
            said = repr(error)
        print(f"{row} -> {said}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
