"""The part of a request that its successors begin with, as a request of its own.

A new replica prefills it before it takes traffic (`warm_up`). It holds what the chat
template puts before the first user message: system prompt and tool definitions, in
the client's own words. It lives in memory only, is never logged, and leaves an
ingress replica only towards the lane that has seen it.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import orjson

from router.stable_text.stable_text import stable_text
from serve_app.bodies.opening import leading_messages, system_of
from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.protocol.errors import Dialect

# Shorter ones fill hardly a block of the KV cache.
MIN_PREFIX_BYTES = 256
# Longer ones would be read for longer than they are worth, here and by a new replica.
MAX_PREFIX_BYTES = 256 * 1024
# Fields that change what the chat template makes of system prompt and tools.
SHAPING = ("chat_template", "chat_template_kwargs", "documents", "reasoning_effort")
# Any message will do. Templates that put the tools into the first user message put
# them before its text, so they are part of what is prefilled.
USER = {"role": "user", "content": "."}
_FOLLOWS = b'{"set":'
# The field of the system prompt, on routes where it is no message.
_SYSTEM_FIELDS = {
    "/v1/chat/completions": None,
    "/v1/messages": "system",
    "/v1/responses": "instructions",
}
MAX_TOOLS = 1024
# Keys of tools by their exact digest, the latest last: some 200 bytes each.
_TOOLS: dict[bytes, str] = {}


def prefix_of(parsed: ParsedRequest) -> bytes | None:
    """The request that prefills the prefix of `parsed`; None when it has none.

    Returns:
        JSON of `{"path", "body"}`, with the name of the tool set in front where the tools are
        its promoted version. `request_of` sets `model` and `cache_salt`.

    """
    is_known = parsed.route.path in _SYSTEM_FIELDS
    if not is_known or len(parsed.prompt.system) > MAX_PREFIX_BYTES:
        return None
    body = _beginning(parsed)
    if body is None:
        return None
    if parsed.body.get("tools"):
        body["tools"] = parsed.body["tools"]
        if parsed.body.get("tool_choice") == "none":
            # The engine then leaves the tools out. Other choices do not change the prompt.
            body["tool_choice"] = "none"
    for name in SHAPING:
        if parsed.body.get(name) is not None:
            body[name] = parsed.body[name]
    made = {**_followed(parsed), "path": parsed.route.path, "body": body}
    try:
        text = orjson.dumps(made)
    except (orjson.JSONEncodeError, TypeError):
        return None  # integers past 64 bits: served, but not worth a second writer
    return text if MIN_PREFIX_BYTES <= len(text) <= MAX_PREFIX_BYTES else None


def _followed(parsed: ParsedRequest) -> dict[str, str]:
    use = parsed.tool_set
    return {"set": use.name} if use is not None and use.follows and "tools" in parsed.body else {}


def follows(prefix: bytes, tool_set: str) -> bool:
    """Return whether the tools of a prefix are whatever version of a set is promoted."""
    return prefix.startswith(orjson.dumps({"set": tool_set})[:-1] + b",")


def followed_set(prefix: bytes) -> str | None:
    """Return the set whose promoted version the tools of a prefix are; None: they are no set's."""
    if not prefix.startswith(_FOLLOWS):
        return None
    name: str = orjson.loads(prefix)["set"]
    return name


def with_tools(prefix: bytes, forms: Mapping[str, list[Any]]) -> bytes:
    """Return a prefix with other tools, by the route's path, in place of its own."""
    made = orjson.loads(prefix)
    return orjson.dumps({**made, "body": {**made["body"], "tools": forms[made["path"]]}})


def prefix_key(parsed: ParsedRequest) -> bytes:
    """The same for prefixes that differ in what changes by itself (`router.stable_text`).

    A replica that has read one of them has read all of them up to the first change.
    """
    body = parsed.body
    shaping = {name: body[name] for name in SHAPING if body.get(name) is not None}
    parts = (
        parsed.route.path,
        stable_text(system_of(parsed)),
        _tools_key(body.get("tools") or []),
        str(body.get("tool_choice") == "none"),
        orjson.dumps(shaping).decode(),
    )
    return _digest("\0".join(parts).encode("utf-8", "surrogatepass"))


def _tools_key(tools: Any) -> str:
    """The same for tools whose descriptions differ in what changes by itself.

    An agent sends the same 50 KB each turn: they are read once.
    """
    text = orjson.dumps(tools, option=orjson.OPT_INDENT_2)
    exact = _digest(text)
    known = _TOOLS.pop(exact, None)
    if known is None:
        # A line each, as the text that it is made of.
        stable = stable_text(text.decode().replace("\\n", "\n"))
        known = _digest(stable.encode()).hex()
    _TOOLS[exact] = known
    if len(_TOOLS) > MAX_TOOLS:
        del _TOOLS[next(iter(_TOOLS))]
    return known


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=16).digest()


def request_of(prefix: bytes, *, model: str, cache_salt: str) -> tuple[str, dict[str, Any]]:
    """Return the path and the body with which a prefix is prefilled."""
    made = orjson.loads(prefix)
    return made["path"], {**made["body"], "model": model, "cache_salt": cache_salt}


def _beginning(parsed: ParsedRequest) -> dict[str, Any] | None:
    """Return a body of what comes before the first user message; None: nothing does."""
    body, route, own = parsed.body, parsed.route, _SYSTEM_FIELDS[parsed.route.path]
    leading = [] if own == "system" else leading_messages(parsed.messages)
    system = body.get(own) if own is not None else None
    if not leading and not system and not body.get("tools"):
        return None
    made: dict[str, Any] = {route.prompt: [*leading, USER], route.limits[-1]: 1}
    if route.dialect is Dialect.RESPONSES:
        made["store"] = False
    if own is not None and system:
        made[own] = system
    return made
