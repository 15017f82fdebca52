"""Where a finished request is noted: for feedback, and in the request log if there is one."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from serve_app.bodies.parsed_request import Prompt
from serve_app.config.records import RequestLogConfig
from serve_app.metrics import Metrics
from serve_app.records.background_writer import BackgroundWriter
from serve_app.records.feedback_store import FeedbackStore
from serve_app.records.recent_by_tenant import RecentByTenant
from serve_app.records.request_log import RequestLog
from serve_app.records.request_record import RequestRecord
from serve_app.request.call import Call

ANSWERED = frozenset({"200", "499", "broken"})
"""Codes of requests that had an answer, or a part of one, to judge."""

MAX_STEPS = 32
"""Judgements of tool calls, and steps to mend them, that a record has."""

MAX_KEPT_CHARS = 16_384
"""A longer prompt is not kept; it bounds the queue (16,384 of up to 4 bytes an item)."""


class Recorder:
    """Passes finished requests to the background writers, if there are any."""

    def __init__(
        self,
        feedback: BackgroundWriter[RequestRecord] | None = None,
        log: BackgroundWriter[RequestRecord] | None = None,
    ) -> None:
        self.feedback = feedback
        self.log = log
        self.recent = RecentByTenant()
        self._writers = [writer for writer in (feedback, log) if writer is not None]

    def start(self) -> None:
        for writer in self._writers:
            writer.start()

    def record(self, call: Call) -> None:
        """Note a request that has ended; never blocks."""
        if not self._writers or not call.route.generates:
            return
        record = record_of(call, datetime.now(UTC), time.perf_counter() - call.started)
        self.recent.note(record)
        if self.log is not None:
            self.log.put(record)
        if self.feedback is not None and call.code in ANSWERED and call.decision is not None:
            self.feedback.put(record)

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


def build_recorder(
    store: FeedbackStore,
    log_config: RequestLogConfig,
    state_dir: Path,
    replica: str,
    metrics: Metrics,
) -> Recorder:
    """The recorder of one ingress replica, not started."""
    lost = metrics.request_records_dropped.labels
    feedback = BackgroundWriter(
        "feedback", store.write, on_lost=lost("feedback").inc, tend=store.sweep
    )
    if log_config.path is None:
        return Recorder(feedback)
    log = RequestLog(state_dir / log_config.path, replica, log_config)
    return Recorder(
        feedback,
        BackgroundWriter("request log", log.write, on_lost=lost("log").inc, tend=log.prune),
    )


def record_of(call: Call, now: datetime, duration_s: float) -> RequestRecord:
    """What is kept of a call that ended at `now`."""
    decision, usage, days = call.decision, call.served.usage, call.tenant.keep_prompts_days
    score = decision.score if decision else None
    return RequestRecord(
        time=now,
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
        ttft_s=call.served.ttft_s,
        background=call.background,
        tool_outcomes=tuple(call.reply.verdicts[:MAX_STEPS]) or None,
        tool_repairs=tuple(call.reply.repairs[:MAX_STEPS]) or None,
        trace_id=call.trace.trace if call.trace and call.trace.is_sampled else None,
        prompt=_kept_prompt(call) if days else None,
        keep_prompt_days=days,
    )


def _kept_prompt(call: Call) -> Prompt | None:
    if call.parsed is None or not call.route.answers:
        return None
    prompt = call.parsed.prompt
    chars = len(prompt.system) + sum(map(len, prompt.users))
    return prompt if chars <= MAX_KEPT_CHARS else None
