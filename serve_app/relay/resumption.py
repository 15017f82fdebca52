"""Asking another replica to go on with an answer: the request that it gets.

Between tokens and text of a chat stream stand its template (before) and its parsers
(after). The prompt's token ids are what the template made, so `/v1/completions` goes on
from them and the delivered ids as the first engine would have, where no parser is at
work. See docs/adr/0012-recovery.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from router.recovery.resume import (
    Delivered,
    RecoveryAction,
    ResumePoint,
    StreamTraits,
    next_seed,
    remaining,
)
from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.config.lane import LaneConfig

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"

PARSER_HOLDS_CHARS = 32
"""Most characters that a tool parser keeps back while they may begin its mark."""

PASSING_PARSERS = frozenset({"hermes", "llama3_json"})
"""Tool parsers that give text on as it is when no tool is offered (vLLM 0.29,
`DelegatingParser`); the engine-based ones read it all the same."""

# Members that say the same on both routes.
_SHARED = (
    "model",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "logit_bias",
    "allowed_token_ids",
    "stop_token_ids",
    "ignore_eos",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "user",
    "cache_salt",
    "priority",
    "session_id",
)
_HISTORY = ("bad_words", "repetition_detection", "thinking_token_budget")
_SHOWN = ("prompt_logprobs", "top_logprobs", "return_token_ids")
_GRAMMAR = (
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
)


NO_STREAM = StreamTraits(is_chat=False, is_known=False)


def traits_of(parsed: ParsedRequest, lane: LaneConfig) -> StreamTraits:
    """What of a request decides how its stream could go on; a whole answer never does."""
    if not parsed.stream:
        return NO_STREAM
    body = parsed.body
    path = parsed.route.path
    is_chat = path == CHAT
    form = body.get("response_format") or {"type": "text"}
    # What is not an object is the engine's to refuse.
    kind = form.get("type") if isinstance(form, dict) else None
    stops = stops_of(body)
    logprobs = body.get("logprobs") if is_chat else body.get("logprobs") is not None
    return StreamTraits(
        is_chat=is_chat,
        is_known=path in (CHAT, COMPLETIONS),
        copies=parsed.num_sequences,
        has_tools=parsed.tools > 0 and body.get("tool_choice") != "none",
        has_reasoning=is_chat and bool(lane.engine_args.get("reasoning_parser")),
        has_logprobs=bool(logprobs) or body.get("prompt_logprobs") is not None,
        has_penalties=any(body.get(f"{name}_penalty") for name in ("presence", "frequency")),
        is_structured=kind != "text" or any(body.get(name) for name in _GRAMMAR),
        has_echo=bool(body.get("echo")),
        reads_history=any(body.get(name) for name in _HISTORY),
        is_text=_is_text(body, is_chat=is_chat),
        # A stop string that is shown may begin in what was shown before this point.
        keeps_whitespace=lane.keeps_whitespace
        and not (stops and body.get("include_stop_str_in_output")),
        is_continuation=bool(body.get("continue_final_message")),
        may_repeat=parsed.num_sequences == 1
        and not logprobs
        and not any(body.get(name) for name in _SHOWN)
        and not _includes_logprobs(body),
    )


def stops_of(body: dict[str, Any]) -> tuple[str, ...]:
    given = body.get("stop")
    if isinstance(given, str):
        return (given,)
    return tuple(s for s in given if isinstance(s, str)) if isinstance(given, list) else ()


def held_chars(parsed: ParsedRequest, lane: LaneConfig) -> int:
    body = parsed.body
    name = lane.engine_args.get("tool_call_parser")
    parser = 0 if name is None or name in PASSING_PARSERS else PARSER_HOLDS_CHARS
    if body.get("include_stop_str_in_output"):
        return parser
    return max(parser, *(len(stop) - 1 for stop in stops_of(body)), 0)


def _includes_logprobs(body: dict[str, Any]) -> bool:
    """Whether `/v1/responses` is asked for log probabilities, in whose events text stands twice."""
    includes = body.get("include")
    return isinstance(includes, list) and "message.output_text.logprobs" in includes


def _is_text(body: dict[str, Any], *, is_chat: bool) -> bool:
    """Whether token ids are all that the engine read."""
    if body.get("prompt_embeds") is not None:
        return False
    for message in body["messages"] if is_chat else ():
        content = message.get("content")
        if isinstance(content, list) and not all(map(_is_text_part, content)):
            return False
    return True


def _is_text_part(part: Any) -> bool:
    return isinstance(part, str) or (isinstance(part, dict) and part.get("type") == "text")


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to an engine."""

    path: str
    body: bytes


def ask_by(
    action: RecoveryAction,
    body: bytes,
    delivered: Delivered,
    point: ResumePoint,
    window_tokens: int,
) -> Ask:
    """Return the request that goes on with an answer, BY_TOKENS or BY_MESSAGE.

    `body` is the first request, as the engine got it; the window is of prompt and answer.
    """
    first = orjson.loads(body)
    if action is RecoveryAction.BY_TOKENS:
        return Ask(COMPLETIONS, orjson.dumps(_by_tokens(first, delivered, point, window_tokens)))
    return Ask(CHAT, orjson.dumps(_by_message(first, delivered)))


def _by_tokens(
    first: dict[str, Any], delivered: Delivered, point: ResumePoint, window_tokens: int
) -> dict[str, Any]:
    limit = first.get("max_completion_tokens") or first.get("max_tokens")
    if limit is None and "messages" in first:
        limit = window_tokens - len(delivered.prompt)
    # Stop strings are watched by us: the engine does not know the text before this point.
    return {
        **{name: first[name] for name in _SHARED if name in first},
        **_counts(first, point.ids),
        "prompt": [*delivered.prompt, *delivered.ids[: point.ids]],
        "max_tokens": remaining(16 if limit is None else limit, point.ids),
        "stream": True,
        "stream_options": first.get("stream_options"),
        "return_token_ids": True,
    }


def _by_message(first: dict[str, Any], delivered: Delivered) -> dict[str, Any]:
    done = len(delivered.ids)
    limits = {
        name: max(1, first[name] - done)
        for name in ("max_completion_tokens", "max_tokens")
        if first.get(name) is not None
    }
    return {
        **first,
        **limits,
        **_counts(first, done),
        "messages": [*first["messages"], {"role": "assistant", "content": delivered.text}],
        "add_generation_prompt": False,
        "continue_final_message": True,
    }


def _counts(first: dict[str, Any], done: int) -> dict[str, Any]:
    """The members that count from the answer's start."""
    counts = {}
    if first.get("min_tokens"):
        counts["min_tokens"] = remaining(first["min_tokens"], done)
    if isinstance(first.get("seed"), int):
        counts["seed"] = next_seed(first["seed"], done)
    return counts
