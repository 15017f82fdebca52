"""What each route's fields may hold, and what is refused before an engine sees it.

One table a route, of the fields that Pointsman reads, that the pinned vLLM (0.29) answers
with a fault of its own, or that it takes and does nothing with. All else reaches the
engine, which refuses it in its own words. tests/unit/serve_app/bodies/test_body_rules.py has an
example of each row, and tests/e2e/test_real_engine_bodies.py what a real engine does.
"""

from __future__ import annotations

from typing import Any

from router.errors import Rejected, RejectReason
from router.types import Task
from serve_app.bodies.body_checks import (
    MAX_INT64,
    Check,
    Members,
    Only,
    Whole,
    is_absent,
    is_array,
    is_empty,
    is_flag,
    is_object,
    is_off,
    is_text,
    is_text_or_array,
    within_64_bits,
)
from serve_app.bodies.pooling import inputs_fault
from serve_app.bodies.routes import Route
from serve_app.bodies.server_tools import is_choice_of_server_tool
from serve_app.bodies.tool_rules import (
    are_input_items,
    are_messages,
    are_messages_tools,
    are_named_functions,
    are_responses_tools,
    is_responses_tool_choice,
)

ANSWER = Whole(1, 2**31 - 1)
"""Tokens of an answer, or answers."""

NOTHING_STORED = "no responses are stored here"

_EVERYWHERE: dict[str, Check] = {
    "model": is_text,
    "stream": is_flag,
    # They reach into the deployment.
    "kv_transfer_params": is_absent,
    "ec_transfer_params": is_absent,
    "vllm_xargs": is_absent,
    "previous_response_id": is_absent,
    # `n` candidates for each answer, all of them generated, past accounts and priorities.
    "use_beam_search": is_off,
}
_SAMPLING: dict[str, Check] = {
    "seed": Whole(),
    "ignore_eos": is_flag,
    "include_stop_str_in_output": is_flag,
    "structured_outputs": is_object,
    "top_k": within_64_bits,
    "top_logprobs": within_64_bits,
}
_OPENAI: dict[str, Check] = {
    **_EVERYWHERE,
    **_SAMPLING,
    "n": ANSWER,
    "max_tokens": ANSWER,
    "min_tokens": Whole(0, 2**31 - 1),
    # "off" would be true to Python and false to the engine.
    "stream_options": Members({"include_usage": is_flag, "continuous_usage_stats": is_flag}),
    # Events of several tokens could be neither counted nor paced.
    "stream_interval": Whole(1, 1),
    "echo": is_flag,
    "return_token_ids": is_flag,
    "prompt_logprobs": within_64_bits,
    "truncate_prompt_tokens": within_64_bits,
    "routed_experts_prompt_start": within_64_bits,
    "thinking_token_budget": within_64_bits,
    "repetition_detection": Members(
        dict.fromkeys(("max_pattern_size", "min_pattern_size", "min_count"), within_64_bits)
    ),
}
_MESSAGES: dict[str, Check] = {
    **_EVERYWHERE,
    "messages": are_messages,
    "tools": are_messages_tools,
    # Servers and sandboxes that would have to be reached for.
    "mcp_servers": is_empty,
    "container": is_empty,
}
_POOLING: dict[str, Check] = {
    **_EVERYWHERE,
    # There is one answer, and it is whole: "stream" would be passed over.
    "stream": is_off,
    "truncate_prompt_tokens": Whole(-1, MAX_INT64),
    # Each text would be filled up to the window: that much would be read, of whatever was counted.
    "padding": Only(("do_not_pad",)),
    "priority": within_64_bits,
    # Content parts, which may name media to fetch.
    "messages": is_absent,
}
_RERANK: dict[str, Check] = {**_POOLING, "top_n": Whole(0, MAX_INT64)}

RULES: dict[str, dict[str, Check]] = {
    "/v1/chat/completions": {
        **_OPENAI,
        "messages": are_messages,
        "max_completion_tokens": ANSWER,
        "logprobs": is_flag,
        "continue_final_message": is_flag,
        "tools": is_array,
        # The forerunners of `tools`, and what needs OpenAI's own services.
        "functions": is_empty,
        "function_call": Only(("none", "auto")),
        "web_search_options": is_absent,
        "audio": is_absent,
        "modalities": Only((["text"],)),
    },
    "/v1/completions": {
        **_OPENAI,
        "prompt": is_text_or_array,
        "logprobs": within_64_bits,
    },
    "/v1/responses": {
        **_EVERYWHERE,
        **_SAMPLING,
        "input": are_input_items,
        "max_output_tokens": ANSWER,
        "max_tool_calls": within_64_bits,
        "tools": are_responses_tools,
        "tool_choice": is_responses_tool_choice,
        # Where a tenant's answers are stored: `STORED`.
        "store": Only((False,), f"false or left out: {NOTHING_STORED}"),
        "previous_response_id": Only((), f"left out: {NOTHING_STORED}. Send the conversation"),
        "conversation": is_absent,
        "background": is_off,
    },
    "/v1/messages": {
        **_MESSAGES,
        "max_tokens": ANSWER,
        "top_k": within_64_bits,
    },
    "/v1/messages/count_tokens": _MESSAGES,
    "/v1/embeddings": {
        **_POOLING,
        # Bytes of any other form have no usage with them.
        "encoding_format": Only(("float", "base64")),
        "dimensions": Whole(1, 2**31 - 1),
    },
    "/v1/score": _POOLING,
    "/v1/rerank": _RERANK,
    "/v2/rerank": _RERANK,
}

STORED: dict[str, Check] = {
    **RULES["/v1/responses"],
    "store": is_flag,
    "previous_response_id": is_text,
}
"""For requests of `/v1/responses` of tenants whose answers are stored."""


def first_fault(body: dict[str, Any], route: Route, *, is_stored: bool = False) -> Rejected | None:
    """Return what of a body is refused first; whole numbers in it become integers."""
    rules = STORED if is_stored and route.stores else RULES[route.path]
    if route.task is not Task.GENERATE:
        fault = inputs_fault(body, route)
        if fault is not None:
            return refusal(*fault)
    elif body.get(route.prompt) is None:
        return refusal(route.prompt, rules[route.prompt](0) or "there")
    for name, value in body.items():
        check = rules.get(name)
        if check is None or value is None:
            continue
        wrong = check(value)
        if wrong is not None and not _scores_only(body, route, name):
            return refusal(name, wrong)
        if type(value) is float and value.is_integer() and _is_of_integers(check):
            body[name] = int(value)
    if is_choice_of_server_tool(body, route.path):
        return refusal("tool_choice", "a tool that the client runs: nothing here runs this one")
    return _named_tool_fault(body)


def _named_tool_fault(body: dict[str, Any]) -> Rejected | None:
    """Refuse tools without names where a function is forced: the engine reads the names first."""
    choice = body.get("tool_choice")
    if not isinstance(choice, dict) or "function" not in choice:
        return None
    tools = body.get("tools")
    # A route that knows no tools may have anything there.
    wrong = are_named_functions(tools if isinstance(tools, list) else [])
    return refusal("tools", wrong) if wrong is not None else None


def _is_of_integers(check: Check) -> bool:
    return check is within_64_bits or isinstance(check, Whole)


def refusal(name: str, wrong: str) -> Rejected:
    """Return a 400 that names the field and says what it must be."""
    return Rejected(RejectReason.INVALID_REQUEST, f"'{name}' must be {wrong}.", param=name)


def _scores_only(body: dict[str, Any], route: Route, name: str) -> bool:
    """Return whether only the prompt's log probabilities are asked for, as evaluations do."""
    is_asked = route.prompt == "prompt" and name == "max_tokens" and body.get("echo") is True
    return is_asked and body[name] == 0 and not isinstance(body[name], bool)
