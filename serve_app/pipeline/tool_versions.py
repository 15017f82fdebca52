"""Which version of a named tool set a request gets."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from hashlib import blake2b

from router.errors import Rejected
from serve_app.bodies.grammar.grammar_rules import constraints_fault
from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.bodies.steps import Steps
from serve_app.bodies.tool_set_use import Expand
from serve_app.config.files import wall_s
from serve_app.registry.store import DIGEST_BYTES
from serve_app.registry.tool_sets import ToolSets, expand, in_version
from serve_app.request.call import Call


def expanding(call: Call, sets: ToolSets) -> Expand:
    """What puts the tools of a set into a body of this caller's."""
    return partial(expand, sets=sets, allowed=call.tenant.tool_sets)


def tool_session(call: Call) -> bytes:
    """Return the session as the tool registry knows it."""
    key = call.session_key.encode("utf-8", "surrogatepass")
    return blake2b(key, digest_size=DIGEST_BYTES).digest()


def keeping_version(
    call: Call, parsed: ParsedRequest, sets: ToolSets
) -> Steps[ParsedRequest | Rejected]:
    """Give a session that began with another version of its tools that one again."""
    use = parsed.tool_set
    if use is None or not use.follows or use.name not in sets.held:
        return parsed
    kept = sets.kept(use.name, tool_session(call), wall_s())
    if kept is None or kept.version == use.version:
        return parsed
    body, used = in_version(parsed.body, call.route, use, kept)
    fault = yield from constraints_fault(body, call.policies.fleet.limits.schemas)
    if fault is not None:
        return fault
    size = parsed.prompt.bytes + used.bytes - use.bytes
    prompt = replace(parsed.prompt, bytes=size)
    return replace(parsed, body=body, prompt=prompt, tool_set=used, tools=len(body["tools"]))
