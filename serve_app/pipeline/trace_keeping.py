"""Keeping the requests of tenants that let them be kept: watched while they run, noted at the end.

On the event loop this is one append for each chunk of an answer, and one record at the request's
end; reading, redacting and writing are the thread's (`serve_app.traces`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from starlette.types import Send

from evals.traces.redaction import Redactor
from evals.traces.trace import Trace
from router.placement.spilled_sessions import session_hash
from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.config.records import TracesConfig
from serve_app.experiments.book import SHADOW
from serve_app.pipeline.shadowing import ShadowAnswer
from serve_app.records.background_writer import BackgroundWriter
from serve_app.records.request_record import RequestRecord
from serve_app.request.call import Call
from serve_app.request.shown import Shown
from serve_app.traces.features import OwnFeatures
from serve_app.traces.hook import load_hook
from serve_app.traces.kept import Completing, Kept
from serve_app.traces.sink import TraceSink

MAX_WAITING_BYTES = 32 * 2**20
"""Of bodies and answers that wait for the thread; what comes when there are more is lost."""


class TraceKeeping:
    """Owns the writer of one ingress replica's traces. Its thread runs from the first one on.

    Args:
        folder: the store's; a store that is there already is tended from the start.

    """

    def __init__(
        self, config: TracesConfig, folder: Path, replica: str, on_lost: Callable[[int], None]
    ) -> None:
        self._config, self._folder, self._on_lost = config, folder, on_lost
        complete = Completing(Redactor(load_hook(config.redact)), OwnFeatures())
        self.sink = TraceSink(folder, replica, config.max_bytes, complete, on_lost=on_lost)
        self.writer: BackgroundWriter[Kept] = BackgroundWriter(
            "traces",
            self.sink.write,
            on_lost=on_lost,
            tend=self.sink.tend,
            tend_s=config.flush_s,
        )
        self._has_begun = False
        self._given_bytes = 0

    def start(self) -> None:
        """Tend a store that is there: what it has to forget does not wait for the next request."""
        if self._folder.exists():
            self._begin()

    def _begin(self) -> None:
        self._has_begun = True
        self.writer.start()

    def watch(self, call: Call, send: Send) -> Send:
        """Return the `send` to answer a request with: itself, unless its answer is to be kept."""
        if not _is_kept(call):
            return send
        call.shown = Shown(send, self._config.max_answer_bytes)
        return call.shown.sender

    def note(self, record: RequestRecord, call: Call) -> None:
        """Keep a request that has ended, if its tenant lets it be kept; never blocks."""
        if _is_kept(call):
            self._put(self._kept(record, call))

    def note_shadow(self, found: ShadowAnswer) -> None:
        """Keep what a shadow answered, where its tenant lets requests be kept."""
        if found.tenant.keep_traces_days > 0:
            self._put(_kept_shadow(found, self._config))

    def _put(self, kept: Kept) -> None:
        if not self._has_begun:
            self._begin()
        # Each side counts what it has done: no number is written by two threads.
        if self._given_bytes - self.sink.taken_bytes + kept.size > MAX_WAITING_BYTES:
            self._on_lost(1)
        elif self.writer.put(kept):
            self._given_bytes += kept.size

    def _kept(self, record: RequestRecord, call: Call) -> Kept:
        given, shown = _given(call), call.shown
        if given is not None and given.prompt.bytes > self._config.max_body_bytes:
            given = None
        size = given.prompt.bytes if given is not None else 0
        return Kept(
            trace=trace_from(record, call),
            keep_days=call.tenant.keep_traces_days,
            policies=call.policies,
            given=given,
            read=call.parsed if record.score is not None else None,
            parts=() if shown is None else shown.parts,
            is_stream=shown is not None and shown.is_stream,
            size=size + (0 if shown is None else shown.size),
        )

    def close(self) -> None:
        """Write what is left; blocks."""
        if self._has_begun:
            self.writer.close()
        if not self.writer.thread.is_alive():
            self.sink.flush()


def _is_kept(call: Call) -> bool:
    return call.tenant.keep_traces_days > 0 and call.route.answers


def _kept_shadow(found: ShadowAnswer, config: TracesConfig) -> Kept:
    """Return a shadow's answer as a request of its own, `ID-shadow`, that nobody waited for."""
    usage, given, answer = found.usage, found.asked, found.answer
    size = given.prompt.bytes
    trace = Trace(
        time=datetime.now(UTC),
        request_id=f"{found.request_id}-shadow",
        tenant=found.tenant.name,
        tier=found.tenant.tier_name,
        api=given.route.path,
        lane=found.lane.name,
        model=found.lane.model_id,
        reason=SHADOW,
        experiment=found.experiment,
        arm=SHADOW,
        code=str(found.status),
        prompt_tokens=usage.prompt_tokens if usage else None,
        completion_tokens=usage.completion_tokens if usage else None,
        cached_tokens=usage.cached_tokens if usage else None,
        duration_s=found.duration_s,
    )
    fits = found.status == 200 and len(answer) <= config.max_answer_bytes
    return Kept(
        trace=trace,
        keep_days=found.tenant.keep_traces_days,
        given=given if size <= config.max_body_bytes else None,
        parts=(answer,) if fits else (),
        size=size + len(answer),
    )


def _given(call: Call) -> ParsedRequest | None:
    """The request as its client sent it; of one that was refused early, as far as it was read."""
    plan = call.plan
    if plan is None:
        return call.parsed
    return plan.parsed if plan.shape is None else plan.shape.given


def trace_from(record: RequestRecord, call: Call) -> Trace:
    """Return what a record says of a request, as a trace without its texts."""
    return Trace(
        time=record.time,
        request_id=record.request_id,
        tenant=record.tenant,
        tier=record.tier,
        session=record.session,
        task=session_hash(record.task_key) if call.task_id else None,
        api=call.route.path,
        lane=record.lane,
        model=record.model,
        reason=record.reason,
        score=record.score,
        threshold=record.threshold,
        classifier=record.classifier,
        propensity=record.propensity,
        experiment=record.experiment,
        arm=record.arm,
        signals={} if call.hold is None else call.hold.told(),
        policy_version=call.policies.version,
        code=record.code,
        prompt_tokens=record.prompt_tokens,
        completion_tokens=record.completion_tokens,
        cached_tokens=record.cached_tokens,
        ttft_s=record.ttft_s,
        duration_s=record.duration_s,
        stages=record.stages,
        verdicts=record.tool_outcomes or (),
    )
