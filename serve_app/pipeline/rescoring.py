"""A second look at the lane of a request whose score is near a threshold.

The first look is by the scores that cost nothing. Only where a contextual classifier is in the
fleet, and only for what it may change, is that asked; the rest never awaits anything here.
"""

from __future__ import annotations

from router.errors import Rejected
from serve_app.bodies.big_bodies import BigBodies
from serve_app.pipeline.preparation import Preparation
from serve_app.pipeline.state import IngressState
from serve_app.request.call import Call
from serve_app.request.plan import Plan
from serve_app.request.stages import Stage


class Rescoring:
    """Asks for better scores and, when they come in time, chooses again."""

    def __init__(self, state: IngressState, preparation: Preparation, bodies: BigBodies) -> None:
        self._state, self._preparation, self._bodies = state, preparation, bodies

    async def settle(self, call: Call, plan: Plan) -> Plan | Rejected:
        """Return the plan to follow; the one that there is where nothing came in time."""
        scoring, doubts = self._state.scoring, call.doubts
        if scoring is None or not doubts:
            return plan
        call.stages.enter(Stage.CLASSIFY)
        shares = await scoring.shares([doubt.conversation for doubt in doubts])
        call.stages.enter(Stage.PARSE)
        if shares is None:
            return plan
        self._state.escalation.learn(call.policies, doubts, shares)
        choosing = self._preparation.choosing_again(call, plan)
        return await self._bodies.read(choosing, plan.parsed.prompt.bytes, call.tenant.name)
