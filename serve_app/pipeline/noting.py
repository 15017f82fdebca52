"""Notes of an admitted request, which later ones are decided by."""

from __future__ import annotations

import time

from router.types import Reason
from serve_app.metrics import AgentMetrics
from serve_app.pipeline.moving_up import MovingUp
from serve_app.pipeline.state import IngressState
from serve_app.pipeline.tool_versions import tool_session
from serve_app.request.call import Call
from serve_app.request.plan import Plan


class Noting:
    """Notes the requests that one ingress replica has admitted."""

    def __init__(self, state: IngressState, metrics: AgentMetrics, moving_up: MovingUp) -> None:
        self._state = state
        self._moving_up = moving_up
        self._metrics = metrics

    def note_admitted(self, call: Call, plan: Plan) -> None:
        """Count an admitted request: its task's bounds, the stronger lanes' shares.

        Nothing is awaited between the decision and this, so that no other request
        spends the same budget. A request that is held is counted when its hold is closed.
        """
        metrics, tier, guarded = self._metrics, call.tenant.tier_name, call.guarded
        if guarded is not None:
            if guarded.exceeded is not None:
                metrics.tool_bounds.labels(tier, guarded.exceeded.limit).inc()
            if guarded.loop is not None:
                metrics.tool_loops.labels(tier, guarded.loop.kind).inc()
        if call.turn_key is not None and plan.decision.reason is not Reason.PINNED:
            self._state.turn_lanes.note(call.turn_key, plan.decision.routed, time.monotonic())
        use = plan.parsed.tool_set
        if use is not None:
            metrics.count_tool_set(use.label)
            if use.follows:
                session, now = tool_session(call), time.monotonic()
                sessions = self._state.tool_sessions
                sessions.note(call.tenant.name, use.name, session, use.version, now)
        call.hold = self._moving_up.open(call, plan)
        if call.hold is None:
            self._state.escalation.note(call.tenant, plan.decision.routed)
        if plan.decision.score is not None:
            call.shadow = self._state.escalation.shadow(call.policies, plan.parsed)
