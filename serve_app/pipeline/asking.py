"""The body that an engine gets for a plan, asking again for a shorter answer, and another lane."""

from __future__ import annotations

import asyncio

from starlette.types import Send

from router.errors import Rejected, RejectReason
from router.routing.window_room import smaller_asks
from serve_app.bodies.big_bodies import breathe
from serve_app.bodies.parsed_request import ParsedRequest, for_engine
from serve_app.config.lane import LaneConfig
from serve_app.pipeline.moving_up import MovingUp
from serve_app.pipeline.state import IngressState
from serve_app.relay.failover import Recovery
from serve_app.relay.held_response import MovesUp
from serve_app.relay.resumption import traits_of
from serve_app.request.answer_limit import limited
from serve_app.request.call import Call
from serve_app.request.hold import Hold, HoldOutcome
from serve_app.request.plan import Plan
from serve_app.request.priority import priority_of


class Asking:
    """Asks engines for the answers of one ingress replica's requests."""

    def __init__(self, state: IngressState, recovery: Recovery, moving_up: MovingUp) -> None:
        self._state = state
        self._recovery = recovery
        self._moving_up = moving_up

    async def ask(self, call: Call, plan: Plan, send: Send) -> Rejected | None:
        """Ask an engine; where the request is held and its lane is unsure, the stronger lane's."""
        hold = call.hold
        if hold is not None and call.reply.has_head:
            # It has waited for so long that its client was told its lane.
            self._moving_up.give_up(call, plan, hold, HoldOutcome.LATE)
            hold = None
        if hold is None:
            return await self._ask(call, plan, send)
        try:
            refused = await self._ask(call, plan, send, hold)
        except MovesUp:
            return await self._ask_above(call, plan, hold, send)
        if hold.adds and not hold.logprobs and _is_bad(refused) and not call.reply.has_started:
            # It may be the log-probabilities that this engine does not like.
            if hold.is_open:
                self._moving_up.give_up(call, plan, hold, HoldOutcome.UNKNOWN)
            return await self._ask(call, plan, send)
        return refused

    async def _ask_above(self, call: Call, plan: Plan, hold: Hold, send: Send) -> Rejected | None:
        """Ask the lane that the request was moved to, whose slot it has; `plan`: as it began."""
        moved, presence, task = call.plan or plan, self._state.presence, call.task_key
        presence.leave(plan.lane, task)
        presence.enter(moved.lane, task)
        try:
            refused = await self._ask_moved(call, moved, send)
        finally:
            presence.leave(moved.lane, task)
            presence.enter(plan.lane, task)
        is_lost = refused is not None and refused.reason is RejectReason.NO_REPLICA
        if is_lost and not call.reply.has_started and self._moving_up.back(call, plan, hold):
            return await self._ask_moved(call, plan, send)
        return refused

    async def _ask_moved(self, call: Call, plan: Plan, send: Send) -> Rejected | None:
        """Ask a lane of which the request has just been given a slot."""
        gates, tier = self._state.gates, call.tenant.tier
        if gates is not None:
            # It was awake in this turn of the event loop: nothing is waited for.
            passed = await gates.enter(
                plan.lane, call.tenant.name, tier.priority, 0.0, tier.start_within_s
            )
            if isinstance(passed, Rejected):
                return passed
            call.served.passed = passed
        return await self._ask(call, plan, send)

    async def _ask(
        self, call: Call, plan: Plan, send: Send, hold: Hold | None = None
    ) -> Rejected | None:
        """Ask an engine; for a shorter answer where it finds prompt and answer too long.

        What the prompt leaves is estimated: an engine counts.
        """
        refused = await self._ask_for(call, plan, plan.answer_limit, send, hold)
        if plan.answer_limit is None or not _is_too_long(refused):
            return refused
        window = plan.decision.lane.window_tokens
        for limit in smaller_asks(plan.answer_limit, plan.longest_tokens, window):
            refused = await self._ask_for(call, plan, limit, send, hold)
            if not _is_too_long(refused):
                break
        return refused

    async def _ask_for(
        self,
        call: Call,
        plan: Plan,
        answer_limit: int | None,
        send: Send,
        hold: Hold | None,
    ) -> Rejected | None:
        parsed, lane = limited(plan.parsed, answer_limit), call.policies.fleet.lanes[plan.lane]
        traits = traits_of(plan.parsed, lane)
        await breathe(parsed.prompt.bytes)
        body = self._body(call, plan, parsed, lane, ids=traits.wants_ids)
        if hold is not None:
            asked = self._moving_up.asks(call, plan, hold, parsed)
            hold.body = body
            if asked is not parsed:
                await breathe(len(body))
                hold.body = self._body(call, plan, asked, lane, ids=traits.wants_ids)
            if hold.asked_at is None:
                hold.asked_at = asyncio.get_running_loop().time()
        await breathe(len(body))
        return await self._recovery.run(call, plan, body, traits, send, hold)

    def _body(
        self, call: Call, plan: Plan, parsed: ParsedRequest, lane: LaneConfig, *, ids: bool
    ) -> bytes:
        return for_engine(
            parsed,
            model=plan.decision.lane.model_id,
            cache_salt=self._state.cache_salt(call.tenant),
            priority=priority_of(call.tenant, parsed) if lane.has_priorities else None,
            token_ids=ids,
        )


def _is_too_long(refused: Rejected | None) -> bool:
    return refused is not None and refused.reason is RejectReason.CONTEXT_LENGTH_EXCEEDED


def _is_bad(refused: Rejected | None) -> bool:
    return refused is not None and refused.reason is RejectReason.INVALID_REQUEST
