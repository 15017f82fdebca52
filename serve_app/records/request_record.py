"""What is kept of a finished request: one record, from which all who are asked make their rows.

Those are the request log, feedback, the operators' page, a tenant's own page, and advice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NamedTuple

from router.placement.spilled_sessions import session_hash
from serve_app.bodies.parsed_request import Prompt
from serve_app.request.call import Call, Outcome

MAX_STEPS = 32
"""Judgements of tool calls, and steps to mend them, that a record has."""

MAX_MESSAGE_CHARS = 300
"""Of a refusal's sentence."""


class RequestRecord(NamedTuple):
    """One finished generation request. A tuple: of so many fields, made in a third of the time.

    Attributes:
        time: when it ended, in UTC.
        lane: None, as `model` and `reason`, when it was refused before there was one.
        code: `200`, `499` (the client left), `broken` (the engine did), or an error code.
        prompt_tokens: as the engine counted; None when it did not.
        ttft_s: None unless it was streamed.
        background: what marked it as one that nobody waits for.
        cached_tokens: of the prompt, found in the prefix cache; None when it was not counted.
        session_key: the conversation's, the same for all of its requests.
        propensity: probability with which the router chose the lane; None: it chose none.
        tool_outcomes: how each tool call was judged, as the model made it first; None: there
            was none, or none was offered.
        tool_repairs: steps that were taken to have invalid ones made again.
        trace_id: of its span, 32 hexadecimal digits; None: it has none.
        task_key: of the task, or else the session, that it belongs to, across tenants.
        stages: seconds by stage.
        replica: the last that it was sent to.
        recoveries: what was done after faults.
        is_refused: then it has a `message`, and may have a `retry_after_s`.
        experiment, arm: names, where it is in an experiment; `arm` is None where it does not
            count.
        prompt: its text, in what feedback gets of a tenant that keeps prompts; else None.
        keep_prompt_days: how long the tenant keeps prompts; 0: not at all.

    """

    time: datetime
    request_id: str
    tenant: str
    tier: str
    lane: str | None
    model: str | None
    reason: str | None
    score: float | None
    threshold: float | None
    classifier: str | None
    shadow_score: float | None
    shadow_classifier: str | None
    code: str
    prompt_tokens: int | None
    completion_tokens: int | None
    duration_s: float
    ttft_s: float | None
    background: str | None = None
    tool_outcomes: tuple[str, ...] | None = None
    tool_repairs: tuple[str, ...] | None = None
    trace_id: str | None = None
    task_key: str = ""
    stages: Mapping[str, float] = MappingProxyType({})
    replica: str | None = None
    recoveries: Sequence[str] = ()
    is_refused: bool = False
    message: str = ""
    retry_after_s: float | None = None
    cached_tokens: int | None = None
    session_key: str | None = None
    propensity: float | None = None
    experiment: str | None = None
    arm: str | None = None
    prompt: Prompt | None = None
    keep_prompt_days: int = 0

    @property
    def session(self) -> str | None:
        """A hash of the conversation's key, for who writes it down."""
        return None if self.session_key is None else session_hash(self.session_key)


def record_of(call: Call, duration_s: float) -> RequestRecord:
    """Return what is kept of a call that has just ended, all but its prompt."""
    decision, served, reply, refused = call.decision, call.served, call.reply, call.refused
    usage, score = served.usage, decision.score if decision else None
    return RequestRecord(
        time=datetime.now(UTC),
        request_id=call.request_id,
        tenant=call.tenant.name,
        tier=call.tenant.tier_name,
        lane=decision.lane.name if decision else None,
        model=decision.lane.model_id if decision else None,
        reason=decision.reason.value if decision else None,
        score=score,
        threshold=decision.threshold if decision else None,
        classifier=call.policies.scorer.version if score is not None else None,
        shadow_score=call.shadow[1] if call.shadow else None,
        shadow_classifier=call.shadow[0] if call.shadow else None,
        code=call.code,
        prompt_tokens=usage.prompt_tokens if usage else None,
        completion_tokens=usage.completion_tokens if usage else None,
        duration_s=duration_s,
        ttft_s=served.ttft_s,
        background=call.background,
        tool_outcomes=tuple(reply.verdicts[:MAX_STEPS]) or None,
        tool_repairs=tuple(reply.repairs[:MAX_STEPS]) or None,
        trace_id=call.trace.trace if call.trace and call.trace.is_sampled else None,
        cached_tokens=usage.cached_tokens if usage else None,
        session_key=call.session_key if call.session_id else None,
        propensity=decision.propensity if decision else None,
        task_key=call.task_key,
        experiment=decision.experiment if decision else None,
        arm=decision.arm if decision else None,
        stages=call.stages,
        replica=served.replica.id if served.replica else None,
        recoveries=reply.recoveries,
        is_refused=call.outcome is Outcome.REFUSED,
        message=refused.message[:MAX_MESSAGE_CHARS] if refused else "",
        retry_after_s=refused.retry_after_s if refused else None,
    )
