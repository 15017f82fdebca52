"""Request bodies that no client should send: every field of every route with wrong values.

The generator behind the tests of what an engine should never see. It is deterministic, and
systematic rather than clever: a field list of the pinned vLLM's request models, times a list
of values of every JSON type, times the places inside the nested fields.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"
COUNT = "/v1/messages/count_tokens"
EMBEDDINGS = "/v1/embeddings"
SCORE = "/v1/score"
RERANK = "/v1/rerank"
RERANK_2 = "/v2/rerank"

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
CHAT_TOOL = {"type": "function", "function": {"name": "f", "parameters": PARAMETERS}}
FLAT_TOOL = {"type": "function", "name": "f", "parameters": PARAMETERS}
MESSAGES_TOOL = {"name": "f", "input_schema": PARAMETERS}
HI = {"role": "user", "content": "Hi"}

SMALLEST: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [HI], "max_tokens": 1},
    COMPLETIONS: {"prompt": "Hi", "max_tokens": 1},
    RESPONSES: {"input": "Hi", "max_output_tokens": 1},
    MESSAGES: {"messages": [HI], "max_tokens": 1},
    COUNT: {"messages": [HI]},
    EMBEDDINGS: {"input": "Hi"},
    SCORE: {"queries": "Hi", "documents": "Ho"},
    RERANK: {"query": "Hi", "documents": ["Ho"]},
    RERANK_2: {"query": "Hi", "documents": ["Ho"]},
}
"""A valid body of each route that costs one token."""

WRONG: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    1.5,
    2.0,
    2**31,
    2**63,
    2**64,
    10**30,
    -(2**63) - 1,
    1e308,
    "",
    "x",
    "1",
    "off",
    "\ud800",
    "\x00",
    [],
    {},
    [None],
    [1],
    [-1],
    [2**63],
    [1.5],
    ["x"],
    [""],
    ["\ud800"],
    [[]],
    [{}],
    [True],
    {"x": None},
    {"x": 1},
    {"1": "x"},
    {"1": 1e308},
    {"type": None},
    {"type": 1},
    {"type": []},
    {"type": "x"},
    {"type": "function"},
)
"""Values of every JSON type, and the edges of each."""

_SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "stream",
    "user",
    "seed",
    "stop",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "logit_bias",
    "top_logprobs",
    "ignore_eos",
    "skip_special_tokens",
    "include_stop_str_in_output",
    "structured_outputs",
    "priority",
    "request_id",
    "session_id",
    "cache_salt",
    "mm_processor_kwargs",
)
_OPENAI = (
    *_SAMPLING,
    "n",
    "best_of",
    "max_tokens",
    "max_completion_tokens",
    "stream_options",
    "stream_interval",
    "logprobs",
    "prompt_logprobs",
    "logprob_token_ids",
    "response_format",
    "use_beam_search",
    "min_p",
    "min_tokens",
    "length_penalty",
    "stop_token_ids",
    "allowed_token_ids",
    "bad_words",
    "spaces_between_special_tokens",
    "truncate_prompt_tokens",
    "truncation_side",
    "echo",
    "add_special_tokens",
    "return_tokens_as_token_ids",
    "return_token_ids",
    "return_token_offsets",
    "routed_experts_prompt_start",
    "repetition_detection",
    "thinking_token_budget",
)
_THINKING = ("chat_template_kwargs", "include_reasoning", "metadata", "service_tier", "store")
_POOLING = (
    "model",
    "user",
    "truncate_prompt_tokens",
    "padding",
    "truncation_side",
    "request_id",
    "priority",
    "mm_processor_kwargs",
    "cache_salt",
    "use_activation",
)
_SCORING = (
    *_POOLING,
    "max_tokens_per_query",
    "max_tokens_per_doc",
    "instruction",
    "chat_template_kwargs",
)

FIELDS: dict[str, tuple[str, ...]] = {
    EMBEDDINGS: (
        *_POOLING,
        "input",
        "add_special_tokens",
        "encoding_format",
        "dimensions",
        "embed_dtype",
        "endianness",
    ),
    SCORE: (*_SCORING, "queries", "documents", "items", "data_1", "data_2", "text_1", "text_2"),
    RERANK: (*_SCORING, "query", "documents", "top_n"),
    RERANK_2: (*_SCORING, "query", "documents", "top_n"),
    CHAT: (
        *_OPENAI,
        *_THINKING,
        "messages",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "reasoning_effort",
        "add_generation_prompt",
        "continue_final_message",
        "documents",
        "chat_template",
        "media_io_kwargs",
        "return_prompt_text",
        "return_assistant_tokens_mask",
    ),
    COMPLETIONS: (*_OPENAI, "prompt", "suffix", "prompt_embeds"),
    RESPONSES: (
        *_SAMPLING,
        *_THINKING,
        "input",
        "instructions",
        "max_output_tokens",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "background",
        "include",
        "max_tool_calls",
        "prompt",
        "reasoning",
        "text",
        "truncation",
        "prompt_cache_key",
        "enable_response_messages",
        "previous_input_messages",
        "media_io_kwargs",
    ),
    MESSAGES: (
        "messages",
        "max_tokens",
        "metadata",
        "output_config",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
        "chat_template_kwargs",
        "thinking",
    ),
    COUNT: ("messages", "system", "tool_choice", "tools", "chat_template_kwargs"),
}
"""The fields of the pinned vLLM's request models that a client may set, by route."""

_SCHEMA: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}}
_GRAMMARS: tuple[dict[str, Any], ...] = (
    {"json": _SCHEMA},
    {"regex": "a+"},
    {"choice": ["a", "b"]},
    {"grammar": 'root ::= "a"'},
    {"json_object": True},
    {"structural_tag": "{}"},
)
_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_TOOL_TURNS = [
    HI,
    {"role": "assistant", "content": None, "tool_calls": [_CALL]},
    {"role": "tool", "tool_call_id": "c", "content": "1"},
]
_PARTS = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
_CHAT_NESTED: tuple[dict[str, Any], ...] = (
    {"messages": _PARTS},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
    {"messages": _TOOL_TURNS},
    {"messages": [{"role": "system", "content": "Be."}, HI]},
    {"tools": [CHAT_TOOL]},
    {"tools": [CHAT_TOOL], "tool_choice": "required"},
    {"tools": [CHAT_TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": _SCHEMA}}},
    {"response_format": {"type": "structural_tag", "format": {"type": "any_text"}}},
    {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}},
    {"chat_template_kwargs": {"enable_thinking": True}},
    {"repetition_detection": {"max_pattern_size": 2, "min_pattern_size": 1, "min_count": 2}},
    {"logit_bias": {"1": 1.0}},
)
NESTED: dict[str, tuple[dict[str, Any], ...]] = {
    CHAT: (*_CHAT_NESTED, *({"structured_outputs": x} for x in _GRAMMARS)),
    COMPLETIONS: (
        {"prompt": ["Hi"]},
        {"prompt": [1, 2]},
        {"prompt": [[1], [2]]},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}},
        *({"structured_outputs": x} for x in _GRAMMARS),
    ),
    RESPONSES: (
        {"input": [HI]},
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]},
        {
            "input": [
                HI,
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "1"},
            ]
        },
        {
            "input": [
                HI,
                {"type": "reasoning", "id": "r", "summary": [], "content": []},
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "Yo"}],
                },
                HI,
            ]
        },
        {"tools": [FLAT_TOOL]},
        {"tools": [FLAT_TOOL], "tool_choice": {"type": "function", "name": "f"}},
        {"tools": [{"type": "namespace", "name": "s", "description": "d", "tools": [FLAT_TOOL]}]},
        {"text": {"format": {"type": "json_schema", "name": "a", "schema": _SCHEMA}}},
        {"reasoning": {"effort": "low", "summary": "auto"}},
        *({"structured_outputs": x} for x in _GRAMMARS),
    ),
    MESSAGES: (
        {"messages": _PARTS},
        {
            "messages": [
                HI,
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}],
                },
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "c",
                            "content": [{"type": "text", "text": "1"}],
                        }
                    ],
                },
            ]
        },
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "image",
                            "source": {"type": "base64", "media_type": "image/png", "data": "x"},
                        }
                    ],
                }
            ]
        },
        {"system": [{"type": "text", "text": "Be."}]},
        {"tools": [MESSAGES_TOOL], "tool_choice": {"type": "tool", "name": "f"}},
        {"output_config": {"effort": "low", "format": {"type": "json_schema", "schema": _SCHEMA}}},
    ),
    COUNT: ({"messages": _PARTS}, {"tools": [MESSAGES_TOOL]}),
    EMBEDDINGS: (
        {"input": ["Hi", "Ho"]},
        {"input": [7, 8]},
        {"input": [[7, 8], [9]]},
        {"mm_processor_kwargs": {"size": 1}},
    ),
    SCORE: ({"queries": ["Hi", "Ho"], "documents": ["a", "b"]},),
    RERANK: ({"documents": ["Hi", "Ho"]},),
    RERANK_2: ({"documents": ["Hi", "Ho"]},),
}
"""Valid nested fields, whose every place is then filled with wrong values."""


def wrong_bodies(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Bodies of a route with what is wrong in each, as `place=value`.

    Some of them are valid after all; none may be a fault of the server.
    """
    smallest = SMALLEST[path]
    for name in FIELDS[path]:
        for value in WRONG:
            yield f"{name}={value!r}", {**smallest, name: value}
    for fields in NESTED[path]:
        valid = {**smallest, **fields}
        for place in (x for name in fields for x in _places(valid[name], (name,))):
            for value in WRONG:
                yield f"{'.'.join(map(str, place))}={value!r}", _with(valid, place, value)


def _places(value: Any, at: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else ()
    inner = enumerate(value) if isinstance(value, list) else inner
    for key, item in inner:
        yield (*at, key)
        yield from _places(item, (*at, key))


def _with(holder: Any, place: tuple[str | int, ...], value: Any) -> Any:
    """A copy in which a place has another value; all beside the way there is shared."""
    key, *rest = place
    changed = copy.copy(holder)
    changed[key] = _with(holder[key], tuple(rest), value) if rest else value
    return changed
