"""What the stock SDKs and tools rightly send, by feature: none of it may be refused."""

from __future__ import annotations

from typing import Any

from tests.wrong_bodies import (
    CHAT,
    CHAT_TOOL,
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

_SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 65535},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 1000},
        "size": {"type": "integer", "minimum": 0, "maximum": 18446744073709551615},
        "next": {"$ref": "#"},
        "min": {"type": "number"},
        "maxItems": {"type": "integer", "default": 10**9},
    },
    "required": ["name"],
    "additionalProperties": False,
}
_FORMAT = {"name": "a", "strict": True, "schema": _SCHEMA}
_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
_PNG = "data:image/png;base64,iVBORw0KGgo="

_ANY: tuple[dict[str, Any], ...] = (
    {"temperature": 0},
    {"temperature": 0.7, "top_p": 0.95},
    {"stream": True},
    {"stream": False},
    {"model": "auto"},
)
_OPENAI: tuple[dict[str, Any], ...] = (
    *_ANY,
    {"n": 2, "temperature": 1},
    {"stop": "\n"},
    {"stop": ["a", "b"]},
    {"seed": -1},
    {"logit_bias": {"50256": -100, "1": 0.5}},
    {"stream": True, "stream_options": {"include_usage": True}},
    {"stream": True, "stream_options": {"include_usage": False, "include_obfuscation": False}},
    {"user": "u", "frequency_penalty": 0.1, "presence_penalty": -0.1},
    {"top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1, "ignore_eos": True, "min_tokens": 1},
    {"stop_token_ids": [2], "bad_words": ["x"], "skip_special_tokens": False},
    {"structured_outputs": {"choice": ["yes", "no"]}},
    {"structured_outputs": {"regex": r"\d{3}-\d{4}"}},
    {"structured_outputs": {"grammar": 'root ::= "a" | "b"'}},
    {"structured_outputs": {"json": _SCHEMA}},
    {"structured_outputs": {"json": '{"type": "object"}'}},
    {"response_format": {"type": "text"}},
    {"response_format": {"type": "json_object"}},
    {"response_format": {"type": "json_schema", "json_schema": _FORMAT}},
    {"stream_interval": 1, "use_beam_search": False, "best_of": 1},
    {"return_token_ids": True, "echo": False, "priority": 3, "cache_salt": "x"},
    {"metadata": {"a": "b"}, "store": False, "service_tier": "auto"},
)
_CHAT: tuple[dict[str, Any], ...] = (
    *_OPENAI,
    {"max_tokens": None, "max_completion_tokens": 32_000},
    {"max_tokens": 32_000},
    {"messages": [{"role": "system", "content": "Be."}, {"role": "developer", "content": "."}, HI]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}], "name": "ada"}]},
    {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Look"},
                    {"type": "image_url", "image_url": {"url": _PNG, "detail": "low"}},
                ],
            }
        ]
    },
    {
        "messages": [
            HI,
            {"role": "assistant", "content": None, "tool_calls": [_CALL], "refusal": None},
            {"role": "tool", "tool_call_id": "c", "content": "1"},
            {"role": "assistant", "content": "Done.", "reasoning_content": "Hm."},
            HI,
        ]
    },
    {"tools": [CHAT_TOOL]},
    {"tools": [CHAT_TOOL], "tool_choice": "required", "parallel_tool_calls": False},
    {"tools": [CHAT_TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
    {"tools": [{"type": "function", "function": {"name": "f", "strict": True}}]},
    {"tools": [CHAT_TOOL], "tool_choice": "none"},
    {"logprobs": True, "top_logprobs": 5},
    {"reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": False}},
    {"continue_final_message": True, "add_generation_prompt": False},
    {"modalities": ["text"], "functions": [], "function_call": "none"},
    {"prompt_cache_key": "k", "safety_identifier": "s", "verbosity": "low", "prediction": None},
)
_COMPLETIONS: tuple[dict[str, Any], ...] = (
    *_OPENAI,
    {"prompt": ["a", "b"]},
    {"prompt": [1, 2, 3]},
    {"prompt": [[1, 2], [3]]},
    {"echo": True, "max_tokens": 0, "logprobs": 1},
    {"echo": True, "max_tokens": 1, "logprobs": 1, "temperature": 0},
    {"logprobs": 5},
    {"prompt_logprobs": 1},
    {"max_tokens": None},
    {"suffix": None},
)
_RESPONSES: tuple[dict[str, Any], ...] = (
    *_ANY,
    {"instructions": "Be.", "store": False, "include": ["reasoning.encrypted_content"]},
    {"input": [HI]},
    {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]},
    {
        "input": [
            {"type": "message", "role": "user", "content": "Hi"},
            {"type": "reasoning", "id": "r", "summary": []},
            {
                "type": "reasoning",
                "id": "r",
                "summary": [{"type": "summary_text", "text": "Hm."}],
                "content": [{"type": "reasoning_text", "text": "Hm."}],
            },
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "1"},
            {
                "type": "message",
                "id": "m",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Yo", "annotations": []}],
            },
            {"role": "assistant", "content": "Yo"},
            HI,
        ]
    },
    {"tools": [FLAT_TOOL], "tool_choice": "auto", "parallel_tool_calls": True},
    {"tools": [FLAT_TOOL], "tool_choice": {"type": "function", "name": "f"}},
    {"tools": [{"type": "namespace", "name": "s", "description": "d", "tools": [FLAT_TOOL]}]},
    {"tools": [FLAT_TOOL, {"type": "custom", "name": "apply_patch", "format": {"type": "text"}}]},
    {"tools": [], "tool_choice": "none"},
    {"text": {"format": {"type": "json_schema", **_FORMAT}, "verbosity": "low"}},
    {"text": {"format": {"type": "text"}}},
    {"reasoning": {"effort": "low", "summary": "auto"}, "truncation": "auto"},
    {"background": False, "conversation": None, "previous_response_id": None},
    {"metadata": {"a": "b"}, "max_output_tokens": None, "max_tool_calls": 3},
    {"prompt_cache_key": "k", "stream": True, "stream_options": {"include_obfuscation": False}},
)
_TURNS: tuple[dict[str, Any], ...] = (
    {"system": "Be."},
    {"system": [{"type": "text", "text": "Be.", "cache_control": {"type": "ephemeral"}}]},
    {"tools": [MESSAGES_TOOL], "tool_choice": {"type": "auto"}},
    {"tools": [{**MESSAGES_TOOL, "type": "custom"}], "tool_choice": {"type": "any"}},
    {"tools": [MESSAGES_TOOL], "tool_choice": {"type": "tool", "name": "f"}},
    {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                    {"type": "tool_use", "id": "c", "name": "f", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "c", "content": "1"}],
            },
        ]
    },
)
_MESSAGES: tuple[dict[str, Any], ...] = (
    *_ANY,
    *_TURNS,
    {"stop_sequences": ["a"], "top_k": 5, "metadata": {"user_id": "u"}},
    {"max_tokens": 32_000, "mcp_servers": [], "container": None},
    {"output_config": {"effort": "low", "format": {"type": "json_schema", "schema": _SCHEMA}}},
)

_EMBEDDINGS: tuple[dict[str, Any], ...] = (
    {},
    {"input": ["Hi", " ", "\u00fc"], "encoding_format": "base64", "user": "u"},
    {"input": [7, 8, 9], "truncate_prompt_tokens": -1},
    {"input": [[7, 8], [9]], "encoding_format": None, "dimensions": 64, "stream": False},
)
_SCORES: tuple[dict[str, Any], ...] = (
    {"documents": ["a", "b"], "use_activation": True},
    {"queries": ["a", "b"], "documents": ["c", "d"]},
)
_RERANKINGS: tuple[dict[str, Any], ...] = (
    # What Cohere's and Jina's clients send beside it.
    {"top_n": 1, "return_documents": True, "max_tokens_per_doc": 100},
    {"documents": ["a", "b"], "truncate_prompt_tokens": 10},
)

VALID = [
    (path, {**SMALLEST[path], **fields})
    for path, bodies in (
        (CHAT, _CHAT),
        (COMPLETIONS, _COMPLETIONS),
        (RESPONSES, _RESPONSES),
        (MESSAGES, _MESSAGES),
        (COUNT, _TURNS),
        (EMBEDDINGS, _EMBEDDINGS),
        (SCORE, _SCORES),
        (RERANK, _RERANKINGS),
    )
    for fields in bodies
]
