"""Reading a request body: only what routing and accounting need, nothing rebuilt.

The body stays the client's own mapping. Fields that we do not know reach the
engine as they came; the fields that we set are set in `for_engine`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import orjson

from router.errors import Rejected, RejectReason
from serve_app.http_errors import Dialect

REFUSED = ("kv_transfer_params", "ec_transfer_params", "vllm_xargs", "previous_response_id")
MAX_COUNT = 2**31 - 1
SAFE_DEPTH = 200
"""Depth that every writer of JSON here can write; orjson reads deeper than it writes."""

OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")


@dataclass(frozen=True, slots=True)
class Route:
    """One generation route of the engine.

    Attributes:
        dialect: form of its errors and events.
        has_priority: whether its request model knows `priority`.
        has_stream_options: whether usage must be asked for on streams.
        generates: False for token counting.

    """

    path: str
    dialect: Dialect
    has_priority: bool = True
    has_stream_options: bool = False
    generates: bool = True


ROUTES: dict[str, Route] = {
    route.path: route
    for route in (
        Route("/v1/chat/completions", Dialect.OPENAI, has_stream_options=True),
        Route("/v1/completions", Dialect.OPENAI, has_stream_options=True),
        Route("/v1/responses", Dialect.RESPONSES),
        Route("/v1/messages", Dialect.ANTHROPIC, has_priority=False),
        Route("/v1/messages/count_tokens", Dialect.ANTHROPIC, has_priority=False, generates=False),
    )
}


@dataclass(frozen=True, slots=True)
class Prompt:
    """The text of a request, as far as the classifier and the session id read it.

    Attributes:
        system: system prompt, or instructions.
        users: text of each user turn, oldest first.
        bytes: UTF-8 bytes of all text that the engine will read, tools included.
        messages: number of messages that the engine will read.
        dropped_users: leading user turns that it will not (`serve_app.history`).
        longest: of a batch, the part of `bytes` that its longest prompt is: each has the
            window for itself.

    """

    system: str
    users: tuple[str, ...]
    bytes: int
    messages: int
    dropped_users: int = 0
    longest: float = 1.0


@dataclass(frozen=True, slots=True)
class Parsed:
    """A checked request body.

    Attributes:
        copies: answers that the engine will generate: `n` for each prompt.

    """

    route: Route
    body: dict[str, Any]
    model: str | None
    stream: bool
    wants_usage: bool
    n: int
    copies: int
    tools: int
    output_tokens: int | None
    prompt: Prompt


def parse(raw: bytes, route: Route) -> Parsed | Rejected:
    """Check a body and read it, or say what is wrong with it (400)."""
    body = load_object(raw)
    if isinstance(body, Rejected):
        return body
    fault = _first_fault(body, route)
    if fault is not None:
        return fault
    options = body.get("stream_options") or {}
    return Parsed(
        route=route,
        body=body,
        model=body.get("model"),
        stream=bool(body.get("stream")),
        wants_usage=bool(options.get("include_usage")) or not route.has_stream_options,
        n=body.get("n") or 1,
        copies=(body.get("n") or 1) * _prompts(body, route),
        tools=len(body.get("tools") or ()),
        output_tokens=next((body[k] for k in OUTPUT_LIMITS if body.get(k) is not None), None),
        # Escapes are three times as long as what they stand for.
        prompt=_prompt(body, route, len(dump(body)) if b"\\u" in raw else len(raw)),
    )


def for_engine(
    parsed: Parsed,
    *,
    model: str,
    cache_salt: str | None,
    priority: int | None,
    token_ids: bool = False,
) -> bytes:
    """The body as the engine gets it: `model`, `cache_salt`, `priority` are ours.

    `token_ids`: ask for the ids of the tokens, so that a broken stream can go on.
    """
    body = dict(parsed.body)
    body["model"] = model
    body.pop("priority", None)
    body.pop("cache_salt", None)
    if not parsed.route.generates:
        return dump(body)
    if cache_salt is not None:
        body["cache_salt"] = cache_salt
    if priority and parsed.route.has_priority:
        body["priority"] = priority
    if parsed.stream and parsed.route.has_stream_options and not parsed.wants_usage:
        body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    if token_ids:
        body["return_token_ids"] = True
    return dump(body)


def load_object(raw: bytes) -> dict[str, Any] | Rejected:
    """A JSON object from the wire, or what is wrong with it (400)."""
    try:
        body = orjson.loads(raw)
        if raw.count(b"[") + raw.count(b"{") > SAFE_DEPTH:
            dump(body)
    except RecursionError:
        return Rejected(RejectReason.INVALID_JSON, "The request body is nested too deeply.")
    except orjson.JSONDecodeError:
        # orjson refuses what Python's reader takes: lone surrogates, deep nesting.
        try:
            body = json.loads(raw, parse_constant=_refuse_constant)
            json.dumps(body)
        except (ValueError, RecursionError):
            return Rejected(RejectReason.INVALID_JSON, "The request body is not valid JSON.")
    if not isinstance(body, dict):
        return _invalid("The request body must be a JSON object.")
    return body


def _refuse_constant(name: str) -> None:
    """NaN and Infinity are Python's, not JSON's, and would reach the engine as null."""
    raise ValueError(name)


def dump(body: Any) -> bytes:
    """JSON, of what Python's reader takes and orjson refuses too."""
    try:
        return orjson.dumps(body)
    except (orjson.JSONEncodeError, TypeError):
        return json.dumps(body).encode()


def _invalid(message: str, param: str | None = None) -> Rejected:
    return Rejected(RejectReason.INVALID_REQUEST, message, param=param)


def _first_fault(body: dict[str, Any], route: Route) -> Rejected | None:
    for name in REFUSED:
        if body.get(name) is not None:
            return _invalid(f"'{name}' is not supported here.", name)
    for name, kind, what in _TYPES:
        value = body.get(name)
        if value is not None and (not isinstance(value, kind) or _is_bool_for_int(value, kind)):
            return _invalid(f"'{name}' must be {what}.", name)
    for name in (*OUTPUT_LIMITS, "n"):
        # Evaluations ask for the prompt's own log probabilities, and no more.
        least = 0 if name != "n" and route.path == "/v1/completions" and body.get("echo") else 1
        if body.get(name) is not None and not least <= body[name] <= MAX_COUNT:
            return _invalid(f"'{name}' must be at least {least} and at most {MAX_COUNT}.", name)
    return _prompt_fault(body, route)


_TYPES: tuple[tuple[str, type, str], ...] = (
    ("model", str, "a string"),
    ("stream", bool, "true or false"),
    ("stream_options", dict, "an object"),
    ("n", int, "an integer"),
    ("tools", list, "an array"),
    *((name, int, "an integer") for name in OUTPUT_LIMITS),
)


def _is_bool_for_int(value: Any, kind: type) -> bool:
    return kind is int and isinstance(value, bool)


def _prompts(body: dict[str, Any], route: Route) -> int:
    """Prompts in one request: `/v1/completions` takes a list of texts or of token lists."""
    prompt = body.get("prompt") if route.path == "/v1/completions" else None
    return len(prompt) if _is_batch(prompt) else 1


def _is_batch(prompt: Any) -> bool:
    return isinstance(prompt, list) and bool(prompt) and not isinstance(prompt[0], int)


_TEXT_FIELD = {"/v1/completions": "prompt", "/v1/responses": "input"}


def _prompt_fault(body: dict[str, Any], route: Route) -> Rejected | None:
    name = _TEXT_FIELD.get(route.path)
    if name is None:
        return _messages_fault(body.get("messages"))
    if not isinstance(body.get(name), (str, list)):
        return _invalid(f"'{name}' must be a string or an array.", name)
    return None


def _messages_fault(messages: Any) -> Rejected | None:
    if not isinstance(messages, list) or not messages:
        return _invalid("'messages' must be a non-empty array.", "messages")
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            return _invalid("Each message must be an object with a 'role'.", "messages")
    return None


def _prompt(body: dict[str, Any], route: Route, raw_bytes: int) -> Prompt:
    if route.path == "/v1/completions":
        given = body["prompt"]
        sizes = [len(x) for x in given if isinstance(x, (str, list))] if _is_batch(given) else []
        longest = max(sizes) / sum(sizes) if any(sizes) else 1.0
        return Prompt("", (text_of(given),), raw_bytes, 1, longest=longest)
    items = body["input"] if route.path == "/v1/responses" else body["messages"]
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    first_system = text_of(body.get("system") or body.get("instructions"))
    systems = [first_system] if first_system else []
    users = []
    for item in items:
        role = item.get("role") if isinstance(item, dict) else None
        if role == "user":
            users.append(text_of(item.get("content")))
        elif role in ("system", "developer"):
            systems.append(text_of(item.get("content")))
    # The whole body's bytes: JSON's own marks stand in for the template's.
    return Prompt("\n".join(systems), tuple(users), raw_bytes, len(items))


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part.get("text") if isinstance(part, dict) else part for part in content)
    return "\n".join(part for part in parts if isinstance(part, str))
