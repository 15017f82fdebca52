"""Reading a request body: only what routing and accounting need, nothing rebuilt.

The body stays the client's own mapping. Fields that we do not know reach the engine as
they came; the fields that we set are set in `for_engine`. What is refused stands in
`serve_app.bodies.body_rules`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from router.errors import Rejected
from router.types import Task
from serve_app.bodies.body_bounds import DEFAULTS, too_many_parts
from serve_app.bodies.body_rules import first_fault
from serve_app.bodies.grammar.grammar_rules import constraints_fault
from serve_app.bodies.json_body import as_utf8, dump, loading
from serve_app.bodies.pooling import inputs_of
from serve_app.bodies.routes import Route
from serve_app.bodies.server_tools import server_tools, types_of, without_server_tools
from serve_app.bodies.steps import Steps, at_once
from serve_app.bodies.tool_set_use import (
    LISTED,
    Expand,
    ToolSetUse,
    lists_a_set,
    names_a_set,
)
from serve_app.bodies.turns import read_turns, text_of
from serve_app.config.serving import LimitsConfig


@dataclass(frozen=True, slots=True)
class Prompt:
    """The text of a request, as far as the classifier and the session id read it.

    Attributes:
        system: system prompt, or instructions.
        users: text of each user turn, oldest first. A message that brings tool results is
            none, whatever stands beside them.
        bytes: UTF-8 bytes of all text that the engine will read, tools included.
        messages: number of messages that the engine will read.
        dropped_users: leading user turns that it will not (`serve_app.routing.history`).
        longest: of a batch, the part of `bytes` that its longest prompt is: each has the
            window for itself.
        is_step: a tool's result has come since the newest user turn.

    """

    system: str
    users: tuple[str, ...]
    bytes: int
    messages: int
    dropped_users: int = 0
    longest: float = 1.0
    is_step: bool = False


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A checked request body.

    Attributes:
        model: None for the router's choice.
        n: answers to each prompt.
        prompts: more than one only on `/v1/completions`, and of texts to embed or to compare.
        num_sequences: answers that the engine will generate: `n` for each prompt; texts, or
            pairs of them, that it works on at once.
        output_tokens: what the engine will cap each answer at, as the pinned vLLM reads
            the route's fields; None: at what its context leaves.
        dropped_tools: types of tools that were left out, since nothing here runs them.
        tool_set: the named set that its tools are.

    """

    route: Route
    body: dict[str, Any]
    model: str | None
    stream: bool
    wants_usage: bool
    n: int
    prompts: int
    num_sequences: int
    tools: int
    output_tokens: int | None
    prompt: Prompt
    dropped_tools: tuple[str, ...] = ()
    tool_set: ToolSetUse | None = None

    @property
    def messages(self) -> list[Any]:
        """The conversation: messages or input items; of a bare prompt, none."""
        return _messages(self.body, self.route)


def parse(raw: bytes, route: Route) -> ParsedRequest | Rejected:
    """Check a body and read it, or say what is wrong with it (400), at once."""
    return at_once(reading(raw, route, DEFAULTS))


def reading(
    raw: bytes,
    route: Route,
    limits: LimitsConfig,
    expand: Expand | None = None,
    *,
    is_stored: bool = False,
) -> Steps[ParsedRequest | Rejected]:
    """Do what `parse` does, in pieces and within these limits.

    `expand`: knows the named tool sets that a body may ask for; None: there are none.
    `is_stored`: the caller's answers are stored, where the route's API does that.
    """
    given, raw = raw, as_utf8(raw)
    if raw is not given:
        yield
    body = yield from loading(raw, limits)
    if isinstance(body, Rejected):
        return body
    fault = too_many_parts(body, len(raw), limits)
    if fault is not None:
        return fault
    used = _expanded(body, route, expand)
    if isinstance(used, Rejected):
        return used
    yield
    fault = first_fault(body, route, is_stored=is_stored)
    if fault is None:
        fault = yield from constraints_fault(body, limits.schemas)
    if fault is not None:
        return fault
    yield
    size = len(raw) if used is None else len(raw) + used.bytes
    if b"\\u" in raw:
        # Escapes are three times as long as what they stand for.
        size = len(dump(body))
        yield
    gone = server_tools(body, route.path)
    if not gone:
        found = _parsed(body, route, size)
        return found if used is None else replace(found, tool_set=used)
    parsed = _parsed(without_server_tools(body, gone), route, max(0, size - len(dump(gone))))
    return replace(parsed, dropped_tools=types_of(gone))


def _expanded(
    body: dict[str, Any], route: Route, expand: Expand | None
) -> ToolSetUse | Rejected | None:
    """Put the tools of the set that a body names into it; None: it names none."""
    if lists_a_set(body):
        return LISTED
    return expand(body, route) if expand is not None and names_a_set(body) else None


def _parsed(body: dict[str, Any], route: Route, size: int) -> ParsedRequest:
    if route.task is not Task.GENERATE:
        return _pooled(body, route, size)
    options = (body.get("stream_options") if route.has_stream_options else None) or {}
    n = body.get("n") or 1 if route.has_n else 1
    prompts, tools = _prompts(body, route), body.get("tools")
    return ParsedRequest(
        route=route,
        body=body,
        model=(body.get("model") or "").strip() or None,
        stream=bool(body.get("stream")),
        wants_usage=bool(options.get("include_usage")) or not route.has_stream_options,
        n=n,
        prompts=prompts,
        num_sequences=n * prompts,
        tools=len(tools) if isinstance(tools, list) else 0,
        output_tokens=_output_tokens(body, route),
        prompt=_prompt(body, route, size),
    )


def _pooled(body: dict[str, Any], route: Route, size: int) -> ParsedRequest:
    inputs = inputs_of(body, route)
    return ParsedRequest(
        route=route,
        body=body,
        model=(body.get("model") or "").strip() or None,
        stream=False,
        wants_usage=True,
        n=1,
        prompts=inputs.count,
        num_sequences=inputs.count,
        tools=0,
        output_tokens=None,
        prompt=Prompt("", (), size + inputs.added_bytes, 1, longest=inputs.longest),
    )


def for_engine(
    parsed: ParsedRequest,
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


def _output_tokens(body: dict[str, Any], route: Route) -> int | None:
    given = next((body[k] for k in route.limits if body.get(k) is not None), route.default_limit)
    # Of a prompt that is only scored, the engine generates a token that it does not show.
    return 1 if given == 0 else given


def _messages(body: dict[str, Any], route: Route) -> list[Any]:
    if route.is_bare:
        return []
    given: str | list[Any] = body[route.prompt]
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


def _prompts(body: dict[str, Any], route: Route) -> int:
    """Count the prompts: `/v1/completions` takes a list of texts or of token lists."""
    if route.prompt != "prompt":
        return 1
    embeds = body.get("prompt_embeds")
    prompt = body["prompt"]
    further = len(embeds) if isinstance(embeds, list) else embeds is not None
    return (len(prompt) if _is_batch(prompt) else 1) + further


def _is_batch(prompt: Any) -> bool:
    return isinstance(prompt, list) and bool(prompt) and not isinstance(prompt[0], int)


def _prompt(body: dict[str, Any], route: Route, raw_bytes: int) -> Prompt:
    if route.prompt == "prompt":
        given = body["prompt"]
        sizes = [len(x) for x in given if isinstance(x, (str, list))] if _is_batch(given) else []
        longest = max(sizes) / sum(sizes) if any(sizes) else 1.0
        return Prompt("", (text_of(given),), raw_bytes, 1, longest=longest)
    items = _messages(body, route)
    first_system = text_of(body.get("system") or body.get("instructions"))
    systems = [first_system] if first_system else []
    turns = read_turns(items)
    system = "\n".join([*systems, *turns.systems])
    # The whole body's bytes: JSON's own marks stand in for the template's.
    return Prompt(system, tuple(turns.users), raw_bytes, len(items), is_step=turns.is_step)
