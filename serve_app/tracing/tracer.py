"""The spans of one ingress replica's requests: begun before an engine is asked, sent at the end."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from random import SystemRandom

from serve_app.agents.verdict import JudgedCall
from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.bodies.routes import CONVERSATIONS
from serve_app.config.tracing import TracingConfig
from serve_app.protocol.trace_context import TraceContext, read_trace_context
from serve_app.request.call import Call, Outcome
from serve_app.tracing import conventions as c
from serve_app.tracing.attributes import (
    call_attributes,
    common_attributes,
    error_of,
    operation_of,
)
from serve_app.tracing.open_tasks import Awaited, OpenTasks, OpenTurn, TurnKey
from serve_app.tracing.span import Attributes, Span, text
from serve_app.tracing.tool_results import Brought, brought
from serve_app.tracing.trace_ids import TraceIds, is_kept, span_ids

logger = logging.getLogger("ray.serve")

SWEEP_S = 5.0
DERIVED = "derived-"
"""How a session's id begins that no client has named (`router.placement.session`)."""


@dataclass(frozen=True, slots=True)
class _Running:
    """An LLM call whose span has begun; `turn` None: it is no conversation's."""

    start_ns: int
    parent_id: int | None
    is_remote: bool
    turn: OpenTurn | None


class Tracer:
    """Makes spans of calls. Whatever fails in it, no request does.

    Args:
        secret: the deployment's, by which all ingress replicas find the same traces.
        emit: takes a span that has ended; it neither waits nor fails.

    """

    def __init__(
        self,
        config: TracingConfig,
        secret: str,
        emit: Callable[[Span], None],
        rng: random.Random | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._ratio = config.sample_ratio
        self._emit, self._clock_ns = emit, clock_ns
        self._rng = rng or SystemRandom()
        self._new_id = span_ids(self._rng)
        self._ids = TraceIds(secret)
        idle_ns, result_ns = round(config.idle_s * 1e9), round(config.result_s * 1e9)
        self.tasks = OpenTasks(emit, self._new_id, idle_ns, result_ns)
        self._running: dict[int, _Running] = {}
        self._has_failed = False

    async def run(self) -> None:
        """End tasks that are idle, for as long as the replica lives."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self.tasks.sweep(self._clock_ns())

    def begin(self, call: Call) -> None:
        """Begin a call's span: it is known what was asked, and nothing is sent yet."""
        if call.route.generates:
            self._guard(self._begin, call)

    def end(self, call: Call) -> None:
        """Send a call's span. It has been settled."""
        if call.trace is not None:
            self._guard(self._end, call)

    def close(self) -> None:
        """Send what is open."""
        self.tasks.close()

    def _guard(self, step: Callable[[Call], None], call: Call) -> None:
        try:
            step(call)
        except Exception:
            # Once: what is wrong with one request may be wrong with all of them.
            if not self._has_failed:
                logger.exception("a request could not be traced; further ones are not told")
            self._has_failed = True

    # -- the beginning ----------------------------------------------------------

    def _begin(self, call: Call) -> None:
        elapsed_s = time.perf_counter() - call.started
        start_ns = self._clock_ns() - round(elapsed_s * 1e9)
        client = read_trace_context(call.headers)
        own_id = self._trace_id(call, start_ns)
        trace_id = own_id if client is None else client.trace_id
        is_kept_here = is_kept(trace_id, self._ratio) and (client is None or client.is_sampled)
        if not is_kept_here:
            if client is None:
                # The engine is told, so that it begins no trace of its own.
                call.trace = TraceContext(trace_id, self._new_id(), is_sampled=False)
            return
        state = "" if client is None else client.state
        call.trace = TraceContext(trace_id, self._new_id(), is_sampled=True, state=state)
        turn = self._turn(call, own_id, start_ns)
        parent_id = None if client is None else client.span_id
        if client is None and turn is not None:
            turn.has_children, parent_id = True, turn.context.span_id
        self._running[call.trace.span_id] = _Running(start_ns, parent_id, client is not None, turn)
        if turn is not None and call.parsed is not None:
            for result in brought(call.parsed.body, call.route.path):
                self._note_result(call.trace, result, turn)

    def _trace_id(self, call: Call, start_ns: int) -> int:
        if not call.user:
            # Refused before it was read.
            return self._rng.getrandbits(128) or 1
        is_named = not call.session_id.startswith(DERIVED) or bool(call.task_id)
        return self._ids.of_task(call.tenant.name, call.user, start_ns, is_named=is_named)

    def _turn(self, call: Call, trace_id: int, start_ns: int) -> OpenTurn | None:
        if call.parsed is None or not call.user or call.route.path not in CONVERSATIONS:
            return None
        common = common_attributes(call)
        task = self.tasks.task(call.tenant.name, trace_id, start_ns, common)
        return self.tasks.begin(task, _turn_key(call.parsed), start_ns)

    def _note_result(self, trace: TraceContext, result: Brought, turn: OpenTurn) -> None:
        """Send the span of a tool call whose result has come, unless it was sent before."""
        task, running = turn.task, self._running[trace.span_id]
        found, is_news = (None, False) if task is None else task.take(result.call_id, result.place)
        if task is None or not is_news:
            return
        # Seen here: from the answer that made the call to the request that brought its result.
        end_ns = running.start_ns
        start_ns = end_ns if found is None else min(found.since_ns, end_ns)
        for above in (turn, task):
            above.tool_calls += 1
            above.begun_ns = min(above.begun_ns, start_ns)
        context = TraceContext(trace.trace_id, self._new_id(), is_sampled=True, state=trace.state)
        known = _tool_attributes(result, found) | turn.common
        self._emit(
            Span(
                f"{c.EXECUTE_TOOL} {known.get(c.TOOL_NAME, '')}".strip(),
                context,
                running.parent_id,
                start_ns,
                end_ns,
                known,
                has_remote_parent=running.is_remote,
                error=c.TOOL_ERROR if result.is_error else "",
                linked=None if found is None else found.made_by,
            )
        )

    # -- the end ------------------------------------------------------------------

    def _end(self, call: Call) -> None:
        trace = call.trace
        running = None if trace is None else self._running.pop(trace.span_id, None)
        if trace is None or running is None:
            return
        end_ns = max(self._clock_ns(), running.start_ns)
        calls = _delivered(call)
        try:
            self._emit(_call_span(call, trace, running, end_ns, len(calls)))
        finally:
            # A turn whose calls are not counted down would stay open.
            if running.turn is not None:
                self._end_in_turn(call, trace, running.turn, calls, end_ns)

    def _end_in_turn(
        self, call: Call, trace: TraceContext, turn: OpenTurn, calls: list[JudgedCall], end_ns: int
    ) -> None:
        if turn.task is not None:
            for made in calls:
                turn.task.await_result(made, end_ns, trace)
        usage = call.served.counted
        tokens = (0, 0) if usage is None else (usage.prompt_tokens, usage.completion_tokens)
        is_answered = call.outcome is Outcome.ANSWERED and not calls
        self.tasks.end(turn, end_ns, tokens, is_answered=is_answered)


def _call_span(
    call: Call, trace: TraceContext, running: _Running, end_ns: int, tool_calls: int
) -> Span:
    known = call_attributes(call)
    if tool_calls:
        known[c.TOOL_CALLS] = tool_calls
    return Span(
        f"{operation_of(call)} {known.get(c.REQUEST_MODEL, '')}".strip(),
        trace,
        running.parent_id,
        running.start_ns,
        end_ns,
        known,
        has_remote_parent=running.is_remote,
        is_client=True,
        error=error_of(call),
    )


def _tool_attributes(result: Brought, found: Awaited | None) -> Attributes:
    known: Attributes = {
        c.OPERATION: c.EXECUTE_TOOL,
        c.TOOL_TYPE: c.FUNCTION,
        c.TOOL_CALL_ID: text(result.call_id),
        c.TOOL_START_SEEN: found is not None,
    }
    name = result.name or ("" if found is None else found.call.name)
    if name:
        known[c.TOOL_NAME] = text(name)
    if found is not None:
        known[c.TOOL_OUTCOME] = found.call.outcome.value
    if result.is_error:
        known[c.ERROR_TYPE] = c.TOOL_ERROR
    return known


def _delivered(call: Call) -> list[JudgedCall]:
    """Return the calls that the client was given."""
    gate = call.reply.gate
    return [] if gate is None or call.outcome is not Outcome.ANSWERED else gate.delivered


def _turn_key(parsed: ParsedRequest) -> TurnKey:
    """Which turn of its conversation a request is of: the same for all of its steps."""
    users = parsed.prompt.users
    newest = users[-1] if users else ""
    digest = blake2b(newest.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return len(users), digest
