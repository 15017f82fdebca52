"""Moving an engine's answer to the client, whole or event by event."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

from starlette.types import Send

from router.errors import Rejected
from serve_app.agents.gate import Gate
from serve_app.bodies.json_body import dump
from serve_app.metrics import Metrics
from serve_app.protocol.asgi import respond
from serve_app.protocol.engine_words import from_engine
from serve_app.protocol.errors import Dialect, error_event
from serve_app.protocol.sse import Usage, next_number, parsed_json, read_usage, usage_within
from serve_app.relay.attempt_faults import (
    BROKEN_OFF,
    UPSTREAM_FAULTS,
    broken,
    fault_of,
    fault_of_event,
    read_whole,
)
from serve_app.relay.attempts import RequestAttempts
from serve_app.relay.forwarder import Forwarder, next_held
from serve_app.relay.tool_repair import ToolRepair, is_unreadable_call
from serve_app.relay.tool_use import with_reason
from serve_app.request.call import Call, Outcome
from serve_app.request.metering import Metering
from serve_app.request.response_headers import (
    Headers,
    repair_comment,
    response_headers,
    stream_headers,
    timing_comment,
)
from serve_app.request.stages import Stage
from serve_app.routing.escalation import Escalation
from serve_app.transport.upstream import Response

_JSON = b"application/json"


class Relay:
    """Passes responses on and leaves in the call what settling needs."""

    def __init__(
        self, metrics: Metrics, escalation: Escalation, metering: Metering, repair: ToolRepair
    ) -> None:
        self._metrics, self._escalation, self._metering = metrics, escalation, metering
        self._repair = repair

    async def relay(
        self, attempts: RequestAttempts, response: Response, send: Send
    ) -> Rejected | None:
        """Answer the client with the engine's response, or say why it cannot be.

        Raises AttemptFailed when the engine's answer was not whole.
        Nothing is sent before the first event (or the whole body) is there.
        """
        try:
            if response.status >= 400:
                return await self._relay_refusal(attempts, response, send)
            if response.content_type == "text/event-stream":
                return await self._relay_stream(attempts, response, send)
            return await self._relay_whole(attempts, response, send)
        finally:
            attempts.call.stages.enter(Stage.OTHER)

    async def _relay_refusal(
        self, attempts: RequestAttempts, response: Response, send: Send
    ) -> Rejected | None:
        """Say what the engine says is wrong, unless it is the model's call and can be mended."""
        body = await read_whole(response)
        gate, is_stream = attempts.gate, attempts.plan.parsed.stream
        if gate is not None and not is_stream and is_unreadable_call(attempts.call.route, body):
            made = await self._repair.make_anew(attempts, gate)
            if isinstance(made, Rejected):
                return made
            await self._send_whole(attempts.call, send, dump(made), _JSON)
            return None
        if response.status >= 500:
            raise fault_of(response.status, body)
        return from_engine(response.status, body)

    async def _relay_whole(
        self, attempts: RequestAttempts, response: Response, send: Send
    ) -> Rejected | None:
        call, body = attempts.call, await read_whole(response)
        call.stages.enter(Stage.RELAY)
        if not call.route.answers and call.route.generates:
            # Megabytes of numbers: reading them would hold everybody's streams up.
            call.served.usage = usage_within(body)
            await self._send_whole(call, send, body, _JSON)
            return None
        answer = parsed_json(body)
        call.served.usage = read_usage(answer)
        self._repair.note_json(attempts, answer)
        if attempts.gate is not None and isinstance(answer, dict):
            judged = await self._judged(attempts, attempts.gate, answer, body)
            if isinstance(judged, Rejected):
                return judged
            body = judged
        kind = response.headers.get("content-type", "")
        await self._send_whole(call, send, body, kind.encode() or _JSON)
        return None

    async def _send_whole(self, call: Call, send: Send, body: bytes, kind: bytes) -> None:
        usage = call.served.counted
        if usage is not None and (pacer := call.charge.pacer) is not None:
            # Delivered at once; the next request waits for what this one overdrew.
            pacer.book(usage.completion_tokens, now=time.monotonic())
        self.count(call, usage)
        _leave(call)
        if call.route.dialect is Dialect.ANTHROPIC:
            body = with_reason(body)
        call.reply.hush()
        # Once more: what it took so far is in the head.
        call.stages.enter(Stage.RELAY)
        if call.reply.has_head:
            # A stream was asked for, and is what its client reads by now.
            call.reply.has_started = True
            await send({"type": "http.response.body", "body": b"data: " + body + b"\n\n"})
            return
        await self.answer(call, send, 200, body, [(b"content-type", kind)])

    async def _judged(
        self, attempts: RequestAttempts, gate: Gate, answer: dict[str, Any], body: bytes
    ) -> bytes | Rejected:
        """The whole answer with valid calls only; as it came where it has no others."""
        gate.read_whole(answer)
        self._repair.note(attempts.call, gate)
        if not gate.holds:
            return body
        refused = await self._repair.mend(attempts, gate)
        if refused is not None:
            return refused
        mended = gate.whole(answer)
        # Read once more: Python's reader leaves the numbers in arguments as they are.
        return body if mended is answer else dump(gate.whole(json.loads(body)))

    async def _relay_stream(
        self, attempts: RequestAttempts, response: Response, send: Send
    ) -> Rejected | None:
        call, stream = attempts.call, attempts.shown()
        state = call.reply.stream
        if state.last:
            # The engine that goes on with an answer is no longer waited for in front of it.
            call.stages.enter(Stage.RELAY)
        call.served.live_tokens = lambda: state.tokens + stream.tokens
        try:
            itl = self._metrics.itl.labels(call.lane, call.tenant.tier_name)
            await Forwarder(call, stream, send, itl, self.begin, self.count).run(response)
            rest = stream.end()
        except UPSTREAM_FAULTS as error:
            if not stream.is_complete:
                raise broken(error, is_final=not call.reply.has_started) from error
            rest = b""
        finally:
            state.tokens += stream.tokens
            state.untold_tokens = stream.untold_tokens
            call.served.delivered_tokens = state.tokens
            if stream.usage is not None:
                is_whole = stream.is_over and not attempts.has_diverged
                is_last = stream.reader.is_counted or is_whole
                call.served.usage = stream.usage if is_last else _so_far(stream.usage, state.tokens)
            call.served.live_tokens = None
        if stream.reader.refused is not None:
            return stream.reader.refused
        if attempts.has_diverged:
            return BROKEN_OFF
        if stream.has_failed:
            raise fault_of_event(stream.reader.fault)
        held = await self.release_calls(attempts)
        if isinstance(held, Rejected):
            return held
        rest += held
        # What is still held back under a ceiling needs no slot of the engine's.
        _leave(call)
        attempts.count_recovery(self._metrics)
        await self.finish(call, send, rest)
        return None

    async def release_calls(self, attempts: RequestAttempts) -> bytes | Rejected:
        """Return what the gate of a stream that is over holds, with valid calls only."""
        call, gate, held = attempts.call, attempts.gate, b""
        if gate is not None:
            self._repair.note(call, gate)
            refused = await self._repair.mend(attempts, gate) if gate.holds else None
            if refused is not None:
                return refused
            held = repair_comment(call) + gate.rest()
        untold = attempts.untold(held)
        if gate is not None and attempts.told is not None:
            gate.know_calls_as(attempts.told.other_ids)
        return BROKEN_OFF if untold is None else untold

    def count(self, call: Call, usage: Usage | None) -> None:
        """Account for what the engine told, before the client has the end."""
        if usage is not None:
            # Perhaps several times: a client that saw its answer whole finds it accounted
            # for, whatever dies next.
            self._metering.end(call, usage)

    async def begin(self, call: Call, send: Send, now: float) -> None:
        """Note the first event and start the response."""
        call.stages.enter(Stage.RELAY)
        if call.served.hold is not None:
            call.served.hold.begin()
        tier = call.tenant.tier_name
        call.served.ttft_s = ttft_s = now - call.started
        call.served.ttft_paced_s = call.served.paced_s
        self._metrics.ttft.labels(call.lane, tier).observe(ttft_s)
        if call.hold is None:
            # Of a request that was held, it is not this lane's alone.
            self._escalation.note_ttft(call.lane, ttft_s)
        await self._start_stream(call, send)

    async def _start_stream(self, call: Call, send: Send) -> None:
        call.reply.has_started = True
        if not call.reply.has_head:
            call.reply.has_head = True
            headers = stream_headers(call)
            await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def finish(self, call: Call, send: Send, rest: bytes) -> None:
        """End a stream that is whole: what is held back, the rest, the end."""
        usage = call.served.counted
        self.count(call, usage)
        if usage is not None and (pacer := call.charge.pacer) is not None:
            # Tokens that came unseen, several in an event or none: the next request's debt.
            unseen = usage.completion_tokens - call.reply.stream.tokens
            pacer.book(max(0, unseen), now=time.monotonic())
        await self._flush(call, send)
        if not call.reply.has_started:
            await self._start_stream(call, send)
        call.reply.hush()
        call.stages.enter(Stage.RELAY)
        await send({"type": "http.response.body", "body": rest + timing_comment(call)})

    async def _flush(self, call: Call, send: Send) -> None:
        state = call.reply.stream
        while state.held:
            out = await next_held(call, state.held)
            if not call.reply.has_started:
                await self.begin(call, send, time.perf_counter())
            state.last, state.newest = time.monotonic(), out
            await send({"type": "http.response.body", "body": out, "more_body": True})

    async def answer(
        self, call: Call, send: Send, status: int, body: bytes, headers: Headers
    ) -> None:
        """Send a whole answer, or a refusal."""
        call.reply.has_head = call.reply.has_started = True
        await respond(send, status, body, [*response_headers(call), *headers])

    async def end_broken(self, call: Call, fault: Rejected, send: Send) -> None:
        """End a stream that has begun with one error event, after what is held back."""
        await self._flush(call, send)
        if call.outcome is Outcome.ANSWERED:
            call.outcome = Outcome.BROKEN
        await self.end_with_error(call, fault, send)

    async def refuse(self, call: Call, refused: Rejected, send: Send) -> Rejected | None:
        """End what has begun with the refusal; return it where nothing has."""
        if not call.reply.has_started and not call.reply.stream.held:
            return refused
        await self.end_broken(call, refused, send)
        return None

    async def end_with_error(
        self, call: Call, fault: Rejected, send: Send, *, tells_wait: bool = False
    ) -> None:
        """Send an error event as the last; `tells_wait`: what headers would have said is in it."""
        event = error_event(
            fault,
            call.route.dialect,
            call.request_id,
            tells_wait=tells_wait,
            number=next_number(call.reply.stream.newest),
        )
        call.reply.hush()
        await send({"type": "http.response.body", "body": event})


def _so_far(told: Usage, tokens: int) -> Usage:
    """The count of an answer that broke off: `/v1/messages` begins with one of no tokens."""
    return replace(told, completion_tokens=max(told.completion_tokens, tokens))


def _leave(call: Call) -> None:
    """Give the engine's slot back: it is done."""
    if call.served.hold is not None:
        call.served.hold.begin()
        call.served.leave()
