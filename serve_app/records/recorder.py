"""Where a finished request is noted: for feedback, and in the request log if there is one."""

from __future__ import annotations

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

    def record(self, record: RequestRecord, call: Call) -> None:
        """Note a request that has ended; never blocks."""
        if not self._writers:
            return
        self.recent.note(record)
        if self.log is not None:
            self.log.put(record)
        if self.feedback is not None and record.code in ANSWERED and record.lane is not None:
            self.feedback.put(_with_prompt(record, call))

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


def _with_prompt(record: RequestRecord, call: Call) -> RequestRecord:
    """Return what feedback keeps: with its prompt, if the tenant keeps them."""
    days = call.tenant.keep_prompts_days
    prompt = _kept_prompt(call) if days else None
    return record if prompt is None else record._replace(prompt=prompt, keep_prompt_days=days)


def _kept_prompt(call: Call) -> Prompt | None:
    if call.parsed is None or not call.route.answers:
        return None
    prompt = call.parsed.prompt
    chars = len(prompt.system) + sum(map(len, prompt.users))
    return prompt if chars <= MAX_KEPT_CHARS else None
