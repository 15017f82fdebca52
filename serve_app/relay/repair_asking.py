"""Asks lanes to make invalid tool calls again: which lanes, one of their slots, one answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from router.routing.window_room import TEMPLATE_TOKENS, left
from router.types import Lane
from serve_app.admission.admission import Admission
from serve_app.agents.repair import ADDED_TURNS
from serve_app.bodies.images import has_images
from serve_app.bodies.json_body import dump
from serve_app.bodies.routes import CONVERSATIONS
from serve_app.placement.lanes import NoReplica, UpstreamFault
from serve_app.protocol.sse import Usage, parsed_json, read_usage
from serve_app.relay.attempts import RequestAttempts
from serve_app.relay.dispatch import Dispatch
from serve_app.request.answer_limit import limited_body
from serve_app.request.call import Call
from serve_app.request.plan import Plan
from serve_app.request.priority import priority_of
from serve_app.transport.upstream import BrokenConnection, SilentConnection

logger = logging.getLogger("ray.serve")

BAD_REQUEST = 400
IS_REFUSED = "error"
"""Of an answer: the conversation was taken before, so it is the call that cannot be written."""

MOST_REPLICAS = 2
"""Of a lane that are asked for the same repair, where the first is lost over it."""

BYTES_A_TOKEN = 3
"""Of the turns that a repair adds, at least: they are words and JSON."""

_FAULTS = (UpstreamFault, BrokenConnection, SilentConnection, OSError)


class RepairAsking:
    """Asks the lanes of one ingress replica; `sleeps` says of which nothing can be had now."""

    def __init__(
        self, dispatch: Dispatch, admission: Admission, sleeps: Callable[[str], bool]
    ) -> None:
        self._dispatch = dispatch
        self._admission = admission
        self._sleeps = sleeps

    async def ask_elsewhere(
        self, attempts: RequestAttempts, lane: Lane, body: dict[str, Any]
    ) -> dict[str, Any]:
        """Ask another lane, if it has a slot now: the client has waited for one already."""
        call, plan = attempts.call, attempts.plan
        if self._sleeps(lane.name):
            return {}
        hold = self._admission.take(
            lane.name, call.tenant, 1, plan.prompt_tokens, plan.answer_tokens
        )
        try:
            if hold is not None and (hold.is_waiting or hold.refused is not None):
                return {}
            return await self.ask(attempts, lane, _for_lane(call, plan, lane, body))
        except asyncio.CancelledError:
            # That lane's slot is wanted for protected work; the request itself goes on.
            if hold is None or hold.evicted() is None:
                raise
            return {}
        finally:
            if hold is not None:
                hold.leave()

    async def ask(
        self, attempts: RequestAttempts, lane: Lane, body: dict[str, Any]
    ) -> dict[str, Any]:
        """Ask a lane, and add what it took to the request's account; empty: no answer."""
        served = attempts.call.served
        body = _fitting(attempts, lane, body)
        status, answer = await self._answer_of(attempts, lane, dump(body))
        if status == BAD_REQUEST:
            return {IS_REFUSED: True}
        if status != 200 or not isinstance(answer, dict):
            logger.warning("a lane did not take the request to repair a call: %d", status)
            return {}
        took = read_usage(answer)
        if took is not None:
            served.mending = (served.mending or Usage(0, 0)) + took
        return answer

    async def _answer_of(
        self, attempts: RequestAttempts, lane: Lane, body: bytes
    ) -> tuple[int, object]:
        """Return status and answer of a replica, or of another one if it is lost; 0: of none."""
        lost: frozenset[str] = frozenset()
        for _ in range(MOST_REPLICAS):
            try:
                replica = await self._dispatch.replica_for(attempts, lane.name, lost)
            except NoReplica:
                break
            try:
                response = await self._dispatch.ask(attempts, replica, body)
                with contextlib.closing(response):
                    return response.status, parsed_json(await response.read())
            except _FAULTS:
                lost |= {replica.id}
        return 0, None


def _for_lane(call: Call, plan: Plan, lane: Lane, body: dict[str, Any]) -> dict[str, Any]:
    """A request of one lane as another's engine takes it: it may know no priorities, or its own."""
    asked = {name: value for name, value in body.items() if name != "priority"}
    has_priorities = call.policies.fleet.lanes[lane.name].has_priorities
    priority = priority_of(call.tenant, plan.parsed)
    if has_priorities and call.route.has_priority and priority:
        asked["priority"] = priority
    return {**asked, "model": lane.model_id}


def _fitting(attempts: RequestAttempts, lane: Lane, body: dict[str, Any]) -> dict[str, Any]:
    """A request whose answer has room in the lane's window behind the turns that were added.

    The first request may have asked for all that its prompt left: an engine would refuse it.
    """
    call, plan = attempts.call, attempts.plan
    usage, turns = call.served.usage, body[CONVERSATIONS[call.route.path]][-ADDED_TURNS:]
    prompt = plan.longest_tokens + plan.longest_tokens // 16
    if usage is not None:
        prompt = usage.prompt_tokens
    room = left(prompt + len(dump(turns)) // BYTES_A_TOKEN + TEMPLATE_TOKENS, lane.window_tokens)
    return limited_body(body, call.route, room)


def fallbacks(attempts: RequestAttempts) -> list[Lane]:
    """The lanes that are asked where the request's own could not make the call, in order.

    A lane whose window has no room for the prompt could only refuse it.
    """
    call, plan = attempts.call, attempts.plan
    routing, lanes = call.policies.fleet.routing, call.policies.routing.lanes
    names = routing.tool_fallback
    if names is None:
        names = [routing.complex] if routing.complex is not None else []
    return [
        lanes[name]
        for name in dict.fromkeys(names)
        if name in lanes
        and name != plan.lane
        and call.tenant.rules.allows(name)
        and (lanes[name].sees or not has_images(plan.parsed.messages))
        and plan.longest_tokens < lanes[name].window_tokens
    ]
