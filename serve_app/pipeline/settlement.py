"""Accounting for a request, however it ended."""

from __future__ import annotations

import time
from math import ceil

from router.types import LaneDecision, Task
from serve_app.metrics import Metrics
from serve_app.pipeline.state import IngressState
from serve_app.pipeline.trace_keeping import TraceKeeping
from serve_app.protocol.sse import Usage
from serve_app.records.recent import RecentRequests
from serve_app.records.recorder import Recorder
from serve_app.records.request_record import record_of
from serve_app.request.call import Call, Outcome
from serve_app.request.metering import Metering
from serve_app.request.plan import Plan
from serve_app.slo.ending import ended_of

ENDED_HERE = {Outcome.ANSWERED, Outcome.FAILED, Outcome.BROKEN}
"""Ends after which what was passed on stands for an engine's count that never came."""


class Settlement:
    """Settles the requests of one ingress replica."""

    def __init__(
        self,
        state: IngressState,
        metrics: Metrics,
        recorder: Recorder,
        metering: Metering,
        recent: RecentRequests,
        traces: TraceKeeping | None = None,
    ) -> None:
        self._state = state
        self._metrics = metrics
        self._recorder = recorder
        self._metering = metering
        self._recent = recent
        self._traces = traces

    def settle(self, call: Call) -> None:
        """Give back, count, learn, record. Runs exactly once a call."""
        counted = _counted(call)
        call.charge.settle(_used_tokens(call, counted), now=time.monotonic())
        self._metering.end(call, counted)
        if counted is not None and call.tenant.agents is not None and call.route.answers:
            self._state.tasks.spend(call.task_key, counted.total, time.monotonic())
        self._learn(call)
        took_s = call.stages.close() - call.started
        self._count(call, took_s)
        self._state.slo.settle(call, self._metrics)
        if call.decision is not None and call.decision.arm is not None:
            self._count_arm(call, call.decision)
        if call.route.generates:
            record = record_of(call, took_s)
            self._state.traffic.note(record, call, counted, self._metrics.turns)
            self._recorder.record(record, call)
            self._recent.note(record, call)
            if self._traces is not None:
                self._traces.note(record, call)

    def _count_arm(self, call: Call, decision: LaneDecision) -> None:
        ended, usage = ended_of(call, time.perf_counter()), call.served.counted
        tokens = () if usage is None else _tokens(usage)
        counts = self._state.experiments.settle(decision, ended, call.served.ttft_s, tokens)
        if counts and decision.experiment is not None and decision.arm is not None:
            self._metrics.experiments.count(decision.experiment, decision.arm, ended.end.value)

    def _learn(self, call: Call) -> None:
        """From the engine's count: how long this lane's prompts are, and what they begin with."""
        served, plan = call.served, call.plan
        if plan is None:
            return
        usage, prompt = served.usage, plan.parsed.prompt
        if usage is not None:
            if _tells_size(call, plan):
                self._state.estimator(plan.lane).learn(
                    prompt.bytes, prompt.messages, usage.prompt_tokens
                )
        elif served.delivered_tokens:
            # A stream that ended before the engine had told its count.
            usage = Usage(plan.prompt_tokens, served.delivered_tokens)
        usage = served.with_mending(usage)
        if usage is None:
            return
        prices = call.policies.fleet.prices
        self._metrics.count_usage(call.tenant.name, plan.lane, usage, prices)
        self._state.note_prefix(plan.lane, call.tenant, plan.parsed)

    def _count(self, call: Call, took_s: float) -> None:
        m, lane, tier = self._metrics, call.lane, call.tenant.tier_name
        reason = call.decision.reason if call.decision else "none"
        m.requests.labels(lane, reason, tier, call.code).inc()
        m.duration.labels(lane, tier).observe(took_s)
        m.stage.observe_each(call.stages)
        if call.served.affinity is not None:
            m.affinity.labels(call.served.affinity.value).inc()
        if call.served.paced_s:
            m.ceiling_wait.labels(tier).observe(call.served.paced_s)


def _tokens(usage: Usage) -> tuple[int, int, int]:
    return usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens


def _tells_size(call: Call, plan: Plan) -> bool:
    """Whether the count is of all that was sent, once each.

    Of pairs an embedding model reads once what another one reads twice; texts may be cut off.
    """
    return call.route.task is not Task.SCORE and not plan.parsed.body.get("truncate_prompt_tokens")


def _counted(call: Call) -> Usage | None:
    """The engine's count, or the best guess at it; None: no engine did anything."""
    served, plan = call.served, call.plan
    if served.usage is not None or served.replica is None or plan is None:
        return served.counted
    was_cut = call.reply.has_started and call.outcome in ENDED_HERE
    if call.outcome is Outcome.LEFT or was_cut:
        return served.with_mending(Usage(plan.prompt_tokens, served.delivered_tokens))
    return served.mending


def _used_tokens(call: Call, counted: Usage | None) -> int:
    """Weighted: the engine's count; where it broke off, what had been delivered."""
    if counted is None:
        return 0
    weigh, plan = call.tenant.weights.weigh, call.plan
    is_silent = call.served.usage is None and not call.reply.has_started
    if is_silent and call.outcome is Outcome.LEFT and plan is not None:
        # Abandoned while the engine was at work and had told nothing yet: a stream
        # has cost its prompt at most, a whole answer up to all that was reserved.
        return plan.cost.prompt if plan.parsed.stream else call.charge.abandoned_tokens
    return ceil(weigh(counted.prompt_tokens, counted.cached_tokens, counted.completion_tokens))
