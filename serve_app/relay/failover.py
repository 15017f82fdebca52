"""One request's way through the replicas: tried, retried, resumed, or ended in form.

What may be done is decided in `router.recovery`: `resume` says what, `retry_budget` how
much of it, `breaker` and the session's ranking where. This module carries it out. A
request that an engine refuses is never tried twice: the engines agree about it. One that
an engine fails on, and lives, is tried on one other.
"""

from __future__ import annotations

import asyncio
import contextlib

import orjson
from starlette.types import Send

from router.errors import Rejected, RejectReason
from router.recovery.resume import (
    Delivered,
    RecoveryAction,
    ResumePoint,
    ResumePointSearch,
    StreamTraits,
)
from router.recovery.stops import StopMatcher
from serve_app.metrics import Metrics
from serve_app.placement.lanes import (
    NoReplica,
    Replica,
    Unreachable,
    UpstreamFault,
    UpstreamTimeout,
)
from serve_app.relay.attempt_faults import BROKEN_OFF, TOO_LONG, AttemptFailed
from serve_app.relay.attempts import RequestAttempts
from serve_app.relay.dispatch import Dispatch
from serve_app.relay.fault_book import FaultBook
from serve_app.relay.fault_log import LATE
from serve_app.relay.held_response import HeldResponse, MovesUp
from serve_app.relay.relay import Relay
from serve_app.relay.resumed_stream import ResumedStream, closing, known_usage
from serve_app.relay.resumption import ask_by, held_chars, stops_of
from serve_app.relay.tool_repair import ToolRepair
from serve_app.request.call import Call
from serve_app.request.hold import Hold
from serve_app.request.plan import Plan
from serve_app.request.stages import Stage
from serve_app.transport.upstream import Response

NO_ANSWER = Rejected(RejectReason.NO_REPLICA, "No replica of the model answered.")
NONE_THERE = Rejected(RejectReason.NO_REPLICA, "No replica of the model is available.")

PAUSE_S = 0.1
"""First pause before a replica that has failed this request is tried again; doubles."""

MAX_PAUSE_S = 1.0
"""A dead replica is replaced in seconds; with `max_failovers` pauses a request waits for 5."""


class Recovery:
    """Sees requests through, for one ingress replica."""

    def __init__(
        self,
        relay: Relay,
        dispatch: Dispatch,
        book: FaultBook,
        metrics: Metrics,
        repair: ToolRepair,
    ) -> None:
        self._relay = relay
        self._repair = repair
        self._dispatch = dispatch
        self._book = book
        self._metrics = metrics

    async def run(
        self,
        call: Call,
        plan: Plan,
        body: bytes,
        traits: StreamTraits,
        send: Send,
        hold: Hold | None = None,
    ) -> Rejected | None:
        """Answer the client, or say why not. Raises MovesUp where a held request is moved."""
        self._book.apply(call.policies.fleet.recovery)
        gate = self._repair.gate_for(call, plan)
        attempts = RequestAttempts(call, plan, body, traits, gate, hold)
        suspected = self._book.begin(attempts)
        if suspected is not None:
            return suspected
        while True:
            try:
                refused = await self._attempt(attempts, send)
            except AttemptFailed as failed:
                call.stages.enter(Stage.OTHER)
                action = RecoveryAction.END if failed.is_final else await self._next(attempts)
                if action is RecoveryAction.END:
                    return await self._fail(attempts, failed.refused, send)
                if action is RecoveryAction.CLOSE:
                    return await self._close(attempts, send)
                if attempts.faults > 1:
                    # There may be no other replica than one that has failed.
                    await asyncio.sleep(min(MAX_PAUSE_S, PAUSE_S * 2 ** (attempts.faults - 2)))
                continue
            if refused is not None and refused.reason is RejectReason.TOOL_CALL_INVALID:
                return await self._relay.refuse(attempts.call, refused, send)
            if refused is not None and attempts.has_begun:
                return await self._fail(attempts, refused, send)
            return refused

    # -- one attempt --------------------------------------------------------

    async def _attempt(self, attempts: RequestAttempts, send: Send) -> Rejected | None:
        """Open and relay once. Raises AttemptFailed for what may be mended elsewhere."""
        opened = await self._open_at(attempts)
        if isinstance(opened, Rejected):
            return opened
        replica, response = opened
        if attempts.hold is not None:
            response = HeldResponse(response, attempts.hold)
        before = attempts.state.tokens
        refused: Rejected | None = NO_ANSWER
        # Closing ends the connection unless the response was read to its
        # end: that is what aborts the engine's request.
        with contextlib.closing(response):
            try:
                refused = await self._relay.relay(attempts, response, send)
            except AttemptFailed as failed:
                await self._blame(attempts, replica, failed)
                raise
            except MovesUp:
                self._book.note_answer(attempts, replica.id)
                raise
            finally:
                has_gone_on = refused is None or attempts.state.tokens > before
                if attempts.has_begun and has_gone_on:
                    attempts.count_recovery(self._metrics)
        if refused is None:
            self._book.note_answer(attempts, replica.id)
        return refused

    async def _open_at(self, attempts: RequestAttempts) -> tuple[Replica, Response] | Rejected:
        try:
            return await self._dispatch.open(attempts)
        except NoReplica:
            return attempts.verdict or NONE_THERE
        except UpstreamTimeout as fault:
            self._book.log.note(attempts, str(fault), LATE)
            self._book.tell_breaker(attempts.plan.lane, str(fault), attempts.tenant)
            return TOO_LONG
        except UpstreamFault as fault:
            is_gone = isinstance(fault, Unreachable)
            self._book.note_fault(attempts, str(fault), is_gone=is_gone, is_loss=not is_gone)
            attempts.unreached += is_gone
            raise AttemptFailed(NO_ANSWER) from fault

    async def _blame(
        self, attempts: RequestAttempts, replica: Replica, failed: AttemptFailed
    ) -> None:
        """Say whose fault it was: the request's, where an engine failed on it and is well.

        A replica is told of only when another one answers what it failed on.
        """
        is_alive = None
        if failed.objection is not None:
            is_alive = await self._dispatch.lanes.is_alive(replica)
            if is_alive:
                attempts.note_objection(replica.id, failed.objection)
                return
        self._book.note_fault(
            attempts, replica.id, is_gone=is_alive is False, is_loss=failed.is_loss
        )

    def _count(self, call: Call, outcome: str) -> None:
        self._metrics.recoveries.labels(outcome).inc()
        call.reply.recoveries.append(outcome)

    # -- between attempts ---------------------------------------------------

    async def _next(self, attempts: RequestAttempts) -> RecoveryAction:
        """Prepare what comes after a fault; END when nothing can."""
        action = attempts.action
        if action in (RecoveryAction.CLOSE, RecoveryAction.END):
            return action
        if attempts.is_settled or not self._book.may_try(attempts):
            return RecoveryAction.END
        if action is RecoveryAction.RETRY:
            attempts.start_over()
        elif action is RecoveryAction.REPEAT:
            attempts.repeat()
        elif not await self._resume(attempts, action):
            return RecoveryAction.END
        return action

    async def _resume(self, attempts: RequestAttempts, action: RecoveryAction) -> bool:
        """Prepare to go on with the answer; False when no such point can be found."""
        plan, transcript = attempts.plan, attempts.transcript
        delivered = transcript.delivered
        point, stops, least = ResumePoint(len(delivered.ids)), None, 0
        if action is RecoveryAction.BY_TOKENS:
            found = await self._find_point(attempts, delivered)
            if found is None:
                return False
            point = found
            body = plan.parsed.body
            least = body.get("min_tokens") or 0
            if stops_of(body) or point.held:
                includes = bool(body.get("include_stop_str_in_output"))
                stops = StopMatcher(stops_of(body), delivered.text, includes=includes)
            delivered.rewind(point)
        ask = ask_by(action, attempts.body, delivered, point, plan.decision.lane.window_tokens)
        stream = ResumedStream(
            transcript, point, stops=stops, least_tokens=least, wants_usage=attempts.wants_usage
        )
        attempts.ask, attempts.stream, attempts.outcome = ask, stream, "resumed"
        return True

    async def _find_point(
        self, attempts: RequestAttempts, delivered: Delivered
    ) -> ResumePoint | None:
        search = ResumePointSearch(delivered, held_chars(attempts.plan.parsed, attempts.lane))
        while (ids := search.asks) is not None:
            text = await self._text_of(attempts, ids)
            if text is None:
                return None
            search.answer(text)
        return search.found

    async def _text_of(self, attempts: RequestAttempts, ids: list[int]) -> str | None:
        asked = orjson.dumps({"model": attempts.plan.decision.lane.model_id, "tokens": ids})
        try:
            response = await self._dispatch.detokenize(attempts, asked)
            with contextlib.closing(response):
                if response.status != 200:
                    return None
                text = orjson.loads(await response.read()).get("prompt")
        except (NoReplica, UpstreamFault, OSError, orjson.JSONDecodeError):
            return None
        return text if isinstance(text, str) else None

    async def _close(self, attempts: RequestAttempts, send: Send) -> Rejected | None:
        """Send the closing lines ourselves: everything else was delivered."""
        call, stream, transcript = attempts.call, attempts.stream, attempts.transcript
        usage = call.served.usage = stream.usage or known_usage(transcript.delivered)
        wants = attempts.wants_usage and not stream.reader.is_counted
        self._count(call, "resumed")
        held = await self._relay.release_calls(attempts)
        if isinstance(held, Rejected):
            return await self._relay.refuse(call, held, send)
        rest = held + closing(transcript, usage, wants_usage=wants)
        await self._relay.finish(call, send, rest)
        return None

    async def _fail(
        self, attempts: RequestAttempts, refused: Rejected, send: Send
    ) -> Rejected | None:
        """Give up: a refusal while nothing was sent, else the stream's error event."""
        if not attempts.is_refused:
            self._count(attempts.call, "failed")
        if not attempts.has_begun:
            # An engine may have counted the prompt before it failed, and filled half a call.
            attempts.call.served.usage, attempts.call.served.delivered_tokens = None, 0
            return attempts.verdict or refused
        fault = attempts.verdict if attempts.is_refused and attempts.verdict else BROKEN_OFF
        await self._relay.end_broken(attempts.call, fault, send)
        return None
