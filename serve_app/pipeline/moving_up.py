"""Requests that begin on their own lane and are moved to the stronger one, before a byte has left.

A hold is opened when a request is admitted, and closed once: when its lane has begun to answer
(`decide`), or with the request. Only then is the request counted as scored, so that one share and
one budget hold both stages. Nothing is awaited while it moves: of the stronger lane it takes a
slot that is free, or none. What a draft cost nobody is charged for; it is counted in
`pointsman_cascade_draft_tokens_total`.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

from router.types import LaneDecision, Reason
from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.metrics import Metrics
from serve_app.pipeline.preparation import Preparation
from serve_app.pipeline.slots import in_line
from serve_app.pipeline.state import IngressState
from serve_app.protocol.logprobs import ASKS
from serve_app.relay.resumption import CHAT, traits_of
from serve_app.request.call import Call
from serve_app.request.hold import Hold, HoldOutcome
from serve_app.request.metering import Metering
from serve_app.request.plan import Plan
from serve_app.swap.gates import sleeps

_FREE_CHOICES = (None, "auto", "none")
"""Of `tool_choice`: with others a grammar makes the first tokens."""

_NEED_LOGPROBS = ("top_logprobs", "logprob_token_ids")


class MovingUp:
    """Opens and closes the holds of one ingress replica."""

    def __init__(
        self, state: IngressState, metrics: Metrics, metering: Metering, preparation: Preparation
    ) -> None:
        self._state = state
        self._metrics = metrics.cascade
        self._metering = metering
        self._preparation = preparation

    # -- opening ------------------------------------------------------------

    def open(self, call: Call, plan: Plan) -> Hold | None:
        """Return the hold of an admitted request; None: what its score decided stands."""
        decision, above = plan.decision, plan.decision.above
        cascading = self._state.escalation.cascading
        if above is None or cascading is None or above.name != cascading.lane:
            return None
        config, score = call.policies.fleet.routing.cascade, decision.score
        if config is None or score is None or not _may_be_held(call, plan):
            return None
        if not plan.parsed.stream and not config.whole_s:
            return None
        standing = self._state.escalation.standing(call.tenant, above.name)
        if not cascading.holds(score, standing):
            return None
        adds = not plan.parsed.body.get("logprobs")
        return Hold(above, config.hold_tokens, config.hold_s, config.whole_s, adds)

    def asks(self, call: Call, plan: Plan, hold: Hold, parsed: ParsedRequest) -> ParsedRequest:
        """Return the request as its own lane gets it while it is held."""
        hold.decide = partial(self._decide, call, plan, hold)
        return replace(parsed, body={**parsed.body, **ASKS}) if hold.adds else parsed

    # -- deciding -----------------------------------------------------------

    def _decide(self, call: Call, plan: Plan, hold: Hold) -> bool:
        """Decide, and move the request if it is to; nothing is awaited."""
        outcome = self._outcome(call, plan, hold)
        if outcome is HoldOutcome.MOVED:
            self._move(call, plan, hold)
        self._close(call, plan, hold, outcome)
        if hold.held_s:
            self._metrics.hold_s.labels(plan.lane).observe(hold.held_s)
        return outcome is HoldOutcome.MOVED

    def _outcome(self, call: Call, plan: Plan, hold: Hold) -> HoldOutcome:
        """Say what becomes of it; where it is to move, it has the stronger lane's slot by then."""
        unsure, escalation, above = hold.uncertainty, self._state.escalation, hold.above.name
        cascading = escalation.cascading
        if unsure is None or cascading is None:
            return HoldOutcome.UNKNOWN
        if not cascading.is_unsure(unsure):
            return HoldOutcome.SURE
        is_slow = not plan.parsed.stream and hold.held_s > hold.whole_s
        if call.reply.has_head or is_slow:
            return HoldOutcome.LATE
        if not cascading.moves(unsure, escalation.standing(call.tenant, above)):
            return HoldOutcome.NO_BUDGET
        if sleeps(self._state.gates, above) or not self._takes_slot(call, plan, above):
            return HoldOutcome.NO_ROOM
        return HoldOutcome.MOVED

    def _takes_slot(self, call: Call, plan: Plan, lane: str) -> bool:
        """Take a slot of another lane in place of the request's own, if one is free now."""
        admission, served = self._state.admission, call.served
        if not admission.has_room(lane):
            return False
        taken = in_line(admission, call, plan, lane)
        if taken is not None and (taken.is_waiting or taken.refused is not None):
            taken.leave()
            return False
        served.leave()
        served.hold, served.passed = taken, None
        return True

    def _move(self, call: Call, plan: Plan, hold: Hold) -> None:
        before, state = plan.decision, self._state
        decision = LaneDecision(hold.above, Reason.CASCADE, before.score, before.threshold)
        state.escalation.note(call.tenant, decision, held=True)
        hold.is_noted = True
        if state.escalation.cascading is not None:
            state.escalation.cascading.note_moved(call.session_key, plan.parsed)
        # The engine has not told its count of the prompt yet.
        self._metrics.draft_tokens.labels(plan.lane, "prompt").inc(plan.prompt_tokens)
        self._metrics.draft_tokens.labels(plan.lane, "completion").inc(hold.tokens)
        self._take_lane(call, self._preparation.on_lane(call, plan, decision))

    def _take_lane(self, call: Call, plan: Plan) -> None:
        """Have a request be another lane's: in its headers, its turn, its usage."""
        call.plan, call.decision = plan, plan.decision
        served = call.served
        served.usage, served.delivered_tokens = None, 0
        if call.turn_key is not None:
            self._state.turn_lanes.note(call.turn_key, plan.decision, time.monotonic())
        self._metering.move(call, plan)

    def back(self, call: Call, plan: Plan, hold: Hold) -> bool:
        """Return a request to the lane where it began, if that has a slot now.

        What the move was paid with is spent.
        """
        if sleeps(self._state.gates, plan.lane) or not self._takes_slot(call, plan, plan.lane):
            return False
        if self._state.escalation.cascading is not None:
            self._state.escalation.cascading.forget_moved(call.session_key)
        self._take_lane(call, plan)
        hold.outcome = HoldOutcome.FAILED
        self._metrics.holds.labels(plan.lane, HoldOutcome.FAILED.value).inc()
        return True

    # -- closing ------------------------------------------------------------

    def _close(self, call: Call, plan: Plan, hold: Hold, outcome: HoldOutcome) -> None:
        hold.is_open, hold.outcome = False, outcome
        self._metrics.holds.labels(plan.lane, outcome.value).inc()
        self.end(call, plan, hold)

    def give_up(self, call: Call, plan: Plan, hold: Hold, outcome: HoldOutcome) -> None:
        """Close a hold without asking what its lane knows."""
        self._close(call, plan, hold, outcome)

    def end(self, call: Call, plan: Plan, hold: Hold) -> None:
        """Count the request as scored, once, whatever became of it."""
        if hold.outcome is None:
            self._close(call, plan, hold, HoldOutcome.UNASKED)
        elif not hold.is_noted:
            hold.is_noted = True
            self._state.escalation.note(call.tenant, plan.decision.routed, held=True)


def _may_be_held(call: Call, plan: Plan) -> bool:
    """Whether the first tokens of its answer would tell something.

    They do of one chat completion in text; not where a grammar makes them, where chance or an
    experiment has chosen the lane, or of a lane that tells none.
    """
    parsed, decision = plan.parsed, plan.decision
    if parsed.route.path != CHAT or decision.propensity < 1 or decision.experiment is not None:
        return False
    lane = call.policies.fleet.lanes[plan.lane]
    if not lane.tells_logprobs or parsed.num_sequences != 1:
        return False
    body = parsed.body
    if not body.get("logprobs") and any(body.get(name) for name in _NEED_LOGPROBS):
        # The engine has to refuse it.
        return False
    traits, choice = traits_of(parsed, lane), body.get("tool_choice")
    is_free = not parsed.tools or choice is None or choice in _FREE_CHOICES
    return is_free and traits.is_text and not traits.is_structured and not traits.has_echo
