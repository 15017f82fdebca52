"""Requests that go on from a stored response: read as if the client had sent all of it.

The conversation is put before the request's own input and the body is read again, so that
limits, sessions, budgets, tool bounds and the engine's prefix cache see what they see of a
client that keeps its conversation itself. Earlier `instructions` and `tools` are not part of
it: they are each request's own, as in OpenAI's API.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from router.errors import Rejected, RejectReason
from serve_app.bodies.big_bodies import BigBodies
from serve_app.bodies.json_body import dump
from serve_app.bodies.parsed_request import ParsedRequest, reading
from serve_app.bodies.tool_set_use import Expand
from serve_app.config.records import ResponsesConfig
from serve_app.request.call import Call
from serve_app.request.keeping import Keeping
from serve_app.responses.desk import StoredResponses
from serve_app.responses.rows import Exchange

MAX_TOLD_CHARS = 128
"""Of an id that is repeated to the client."""


async def read_whole(
    call: Call,
    raw: bytes,
    bounds: ResponsesConfig,
    stored: StoredResponses,
    bodies: BigBodies,
    tools: Expand,
) -> ParsedRequest | Rejected:
    """Read a request of a tenant whose responses are stored, with all that it continues.

    What is to be stored of it is noted in the call. `tools`: knows the named tool sets.
    """
    limits, tenant = call.policies.fleet.limits, call.tenant.name
    first = reading(raw, call.route, limits, tools, is_stored=True)
    parsed = await bodies.read(first, len(raw), tenant)
    if isinstance(parsed, Rejected):
        return parsed
    keeping = keeping_of(parsed.body, bounds)
    if keeping.is_wanted or keeping.previous is not None:
        call.keeping = keeping
    if keeping.previous is None:
        return replace(parsed, body=_for_engine(parsed.body))
    room = limits.max_body_bytes - len(raw)
    found = await stored.conversation(tenant, keeping.previous, room)
    if isinstance(found, Rejected):
        return found
    if found is None:
        return not_found(keeping.previous, bounds)
    raw = with_conversation(parsed.body, keeping.input, found)
    whole = await bodies.read(reading(raw, call.route, limits), len(raw), tenant)
    if isinstance(whole, Rejected):
        return whole
    # The body has its tools as they are by now: what was asked for is known from before.
    return replace(whole, tool_set=parsed.tool_set, dropped_tools=parsed.dropped_tools)


def keeping_of(body: dict[str, Any], bounds: ResponsesConfig) -> Keeping:
    """What a body asks of the store."""
    store = body.get("store")
    is_wanted = bounds.store_by_default if store is None else store
    return Keeping(body.get("previous_response_id"), _items(body["input"]), is_wanted, bounds)


def with_conversation(body: dict[str, Any], own: bytes, conversation: Iterable[Exchange]) -> bytes:
    """Return the body that a client sends who keeps its conversation itself."""
    arrays = [array for exchange in conversation for array in exchange] + [own]
    items = b",".join(array[1:-1] for array in arrays if len(array) > len(b"[]"))
    rest = {name: value for name, value in _for_engine(body).items() if name != "input"}
    rest.pop("previous_response_id", None)
    return b'{"input":[%b],%b' % (items, dump(rest)[1:])


def not_found(response_id: str, bounds: ResponsesConfig) -> Rejected:
    """Say that a conversation cannot be gone on with, in OpenAI's words first."""
    told = f" with id '{response_id}'" if len(response_id) <= MAX_TOLD_CHARS else ""
    return Rejected(
        RejectReason.PREVIOUS_RESPONSE_NOT_FOUND,
        f"Previous response{told} not found. It was never stored, or it or an earlier one of its "
        f"conversation was deleted, unused for {bounds.keep_days:g} days, or the oldest when there "
        "was no room. Send the whole conversation in 'input'.",
        param="previous_response_id",
    )


def _items(given: str | list[Any]) -> bytes:
    return dump([{"role": "user", "content": given}] if isinstance(given, str) else given)


def _for_engine(body: dict[str, Any]) -> dict[str, Any]:
    # vLLM's own store is each engine process's: it is never asked for.
    return {**body, "store": False}
