"""The body that an engine gets for a plan, and asking again for a shorter answer."""

from __future__ import annotations

from starlette.types import Send

from router.errors import Rejected, RejectReason
from router.routing.window_room import smaller_asks
from serve_app.bodies.big_bodies import breathe
from serve_app.bodies.parsed_request import for_engine
from serve_app.pipeline.state import IngressState
from serve_app.relay.failover import Recovery
from serve_app.relay.resumption import traits_of
from serve_app.request.answer_limit import limited
from serve_app.request.call import Call
from serve_app.request.plan import Plan
from serve_app.request.priority import priority_of


class Asking:
    """Asks engines for the answers of one ingress replica's requests."""

    def __init__(self, state: IngressState, recovery: Recovery) -> None:
        self._state = state
        self._recovery = recovery

    async def ask(self, call: Call, plan: Plan, send: Send) -> Rejected | None:
        """Ask an engine; for a shorter answer where it finds prompt and answer too long.

        What the prompt leaves is estimated: an engine counts.
        """
        refused = await self._ask_for(call, plan, plan.answer_limit, send)
        if plan.answer_limit is None or not _is_too_long(refused):
            return refused
        window = plan.decision.lane.window_tokens
        for limit in smaller_asks(plan.answer_limit, plan.longest_tokens, window):
            refused = await self._ask_for(call, plan, limit, send)
            if not _is_too_long(refused):
                break
        return refused

    async def _ask_for(
        self, call: Call, plan: Plan, answer_limit: int | None, send: Send
    ) -> Rejected | None:
        parsed, lane = plan.parsed, call.policies.fleet.lanes[plan.lane]
        traits = traits_of(parsed, lane)
        await breathe(parsed.prompt.bytes)
        body = for_engine(
            limited(parsed, answer_limit),
            model=plan.decision.lane.model_id,
            cache_salt=self._state.cache_salt(call.tenant),
            priority=priority_of(call.tenant, parsed) if lane.has_priorities else None,
            token_ids=traits.wants_ids,
        )
        await breathe(len(body))
        return await self._recovery.run(call, plan, body, traits, send)


def _is_too_long(refused: Rejected | None) -> bool:
    return refused is not None and refused.reason is RejectReason.CONTEXT_LENGTH_EXCEEDED
