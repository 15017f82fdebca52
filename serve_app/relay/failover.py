"""One request's way through the replicas: tried, retried, resumed, or ended in form.

What may be done is decided in `router.recovery`: `resume` says what, `retry_budget` how
much of it, `breaker` and the session's ranking where. This module carries it out. A
request that an engine refuses is never tried twice: the engines agree about it. One that
an engine fails on, and lives, is tried on one other.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

import orjson

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
from serve_app.protocol.asgi import Send
from serve_app.relay.attempts import Journey
from serve_app.relay.dispatch import Dispatch
from serve_app.relay.fault_book import FaultBook
from serve_app.relay.relay import BROKEN_OFF, TOO_LONG, Broken, Failed, Relay
from serve_app.relay.resumed_stream import Continued, closing, known_usage
from serve_app.relay.resumption import ask_by, held_chars, stops_of
from serve_app.request.call import Call
from serve_app.request.plan import Plan
from serve_app.transport.upstream import Response

NO_ANSWER = Rejected(RejectReason.NO_REPLICA, "No replica of the model answered.")
NONE_THERE = Rejected(RejectReason.NO_REPLICA, "No replica of the model is available.")

PAUSE_S = 0.1
"""First pause before a replica that has failed this request is tried again."""


class Recovery:
    """Sees requests through, for one ingress replica."""

    def __init__(self, relay: Relay, dispatch: Dispatch, book: FaultBook, metrics: Metrics) -> None:
        self._relay = relay
        self._dispatch = dispatch
        self._book = book
        self._metrics = metrics

    async def run(
        self, call: Call, plan: Plan, body: bytes, traits: StreamTraits, send: Send
    ) -> Rejected | None:
        """Answer a request, or say why it cannot be while nothing has been sent."""
        self._book.apply(call.policies.fleet.recovery)
        journey = Journey(call, plan, body, traits)
        suspected = self._book.begin(journey)
        if suspected is not None:
            return suspected
        while True:
            try:
                refused = await self._attempt(journey, send)
            except Broken as broken:
                means = RecoveryAction.END if broken.is_final else await self._next(journey)
                if means is RecoveryAction.END:
                    return await self._fail(journey, broken.refused, send)
                if means is RecoveryAction.CLOSE:
                    await self._close(journey, send)
                    return None
                await self._pause(journey)
                continue
            if refused is not None and journey.has_begun:
                return await self._fail(journey, refused, send)
            return refused

    # -- one attempt --------------------------------------------------------

    async def _attempt(self, journey: Journey, send: Send) -> Rejected | None:
        """Open and relay once. Raises Broken for what may be mended elsewhere."""
        opened = await self._open_at(journey)
        if isinstance(opened, Rejected):
            return opened
        replica, response = opened
        # Closing ends the connection unless the response was read to its
        # end: that is what aborts the engine's request.
        with contextlib.closing(response):
            try:
                if response.status < 400 and journey.has_begun:
                    self._note_recovery(journey)
                refused = await self._relay.relay(
                    journey.call, response, send, journey.source, journey.flow
                )
            except Broken as broken:
                await self._blame(journey, replica, broken)
                raise
            finally:
                if journey.has_begun:
                    self._note_recovery(journey)
        if refused is None:
            self._book.note_answer(journey, replica.id)
        return refused

    async def _open_at(self, journey: Journey) -> tuple[Replica, Response] | Rejected:
        """Choose a replica and send it what is asked now."""
        breakers = self._book.breakers(journey.plan.lane)
        avoid = journey.avoid | breakers.avoided(now=time.monotonic())
        ask = journey.ask
        try:
            return await self._dispatch.open(
                journey.call, journey.plan, ask.path, ask.body, avoid, journey.objectors
            )
        except NoReplica:
            return journey.verdict or NONE_THERE
        except UpstreamTimeout as fault:
            self._book.tell_breaker(journey.plan.lane, str(fault), journey.tenant)
            return TOO_LONG
        except UpstreamFault as fault:
            is_gone = isinstance(fault, Unreachable)
            self._book.note_fault(journey, str(fault), is_gone=is_gone, is_loss=not is_gone)
            raise Broken(NO_ANSWER) from fault

    async def _blame(self, journey: Journey, replica: Replica, broken: Broken) -> None:
        """Say whose fault it was: the request's, where an engine failed on it and is well.

        A replica is told of only when another one answers what it failed on.
        """
        is_alive = (
            await self._dispatch.lanes.is_alive(replica) if isinstance(broken, Failed) else None
        )
        if isinstance(broken, Failed) and is_alive:
            journey.note_objection(replica.id, broken.objection)
            return
        is_dead = is_alive is False
        self._book.note_fault(journey, replica.id, is_gone=is_dead, is_loss=broken.is_loss)

    def _note_recovery(self, journey: Journey) -> None:
        outcome, journey.outcome = journey.outcome, ""
        if outcome:
            self._metrics.recoveries.labels(outcome).inc()

    # -- between attempts ---------------------------------------------------

    async def _next(self, journey: Journey) -> RecoveryAction:
        """Prepare what comes after a fault; END when nothing can."""
        means = journey.means
        if means in (RecoveryAction.CLOSE, RecoveryAction.END):
            return means
        if journey.is_settled or not self._book.may_try(journey):
            return RecoveryAction.END
        if means is RecoveryAction.RETRY:
            journey.start_over()
        elif not await self._resume(journey, means):
            return RecoveryAction.END
        return means

    async def _pause(self, journey: Journey) -> None:
        """Before going back to a replica that has failed, when there may be no other."""
        if journey.faults > 1:
            await asyncio.sleep(PAUSE_S * 2 ** (journey.faults - 2))

    async def _resume(self, journey: Journey, means: RecoveryAction) -> bool:
        """Prepare to go on with the answer; False when no cut can be found."""
        plan, journal = journey.plan, journey.journal
        assert journal is not None
        said = journal.said
        cut, stops, least = ResumePoint(len(said.ids)), None, 0
        if means is RecoveryAction.BY_TOKENS:
            found = await self._find_cut(journey, said)
            if found is None:
                return False
            cut = found
            body = plan.parsed.body
            least = body.get("min_tokens") or 0
            if stops_of(body) or cut.held:
                includes = bool(body.get("include_stop_str_in_output"))
                stops = StopMatcher(stops_of(body), said.text, includes=includes)
            said.rewind(cut)
        ask = ask_by(means, journey.body, said, cut, plan.decision.lane.window_tokens)
        source = Continued(
            journal, cut, stops=stops, least_tokens=least, wants_usage=journey.wants_usage
        )
        journey.ask, journey.source, journey.outcome = ask, source, "resumed"
        return True

    async def _find_cut(self, journey: Journey, said: Delivered) -> ResumePoint | None:
        search = ResumePointSearch(said, held_chars(journey.plan.parsed, journey.lane))
        while (ids := search.asks) is not None:
            text = await self._text_of(journey.call, journey.plan, ids)
            if text is None:
                return None
            search.answer(text)
        return search.found

    async def _text_of(self, call: Call, plan: Plan, ids: list[int]) -> str | None:
        asked = orjson.dumps({"model": plan.decision.lane.model_id, "tokens": ids})
        try:
            response = await self._dispatch.detokenize(call, plan, asked)
            with contextlib.closing(response):
                if response.status != 200:
                    return None
                text = orjson.loads(await response.read()).get("prompt")
        except (NoReplica, UpstreamFault, OSError, orjson.JSONDecodeError):
            return None
        return text if isinstance(text, str) else None

    async def _close(self, journey: Journey, send: Send) -> None:
        """Everything was said but the closing lines: we can say them."""
        call, source, journal = journey.call, journey.source, journey.journal
        assert journal is not None
        usage = call.served.usage = source.usage or known_usage(journal.said)
        wants = journey.wants_usage and not source.is_counted
        self._metrics.recoveries.labels("resumed").inc()
        rest = closing(journal, usage, wants_usage=wants)
        await self._relay.finish(call, send, journey.flow, rest)

    async def _fail(self, journey: Journey, refused: Rejected, send: Send) -> Rejected | None:
        """Give up: a refusal while nothing was sent, else the stream's error event."""
        if not journey.is_refused:
            self._metrics.recoveries.labels("failed").inc()
        if not journey.has_begun:
            return journey.verdict or refused
        fault = journey.verdict if journey.is_refused and journey.verdict else BROKEN_OFF
        await self._relay.end_broken(journey.call, fault, send, journey.flow)
        return None
