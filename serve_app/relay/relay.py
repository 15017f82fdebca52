"""Moving an engine's answer to the client, whole or event by event."""

from __future__ import annotations

import time
from collections.abc import Callable

import orjson

from router.errors import Rejected, RejectReason
from serve_app.metrics import Metrics
from serve_app.protocol.engine_words import NOT_NOW, engine_error, from_engine, objection
from serve_app.protocol.errors import Dialect, error_event
from serve_app.protocol.sse import Usage, read_usage
from serve_app.relay.engine_stream import Source
from serve_app.relay.pump import Flow, Pump, next_held
from serve_app.relay.tool_use import with_reason
from serve_app.request.call import Call
from serve_app.request.response_headers import Headers, response_headers, stream_headers
from serve_app.transport.endpoint import Send
from serve_app.transport.upstream import BrokenConnection, Response, SilentConnection

UPSTREAM_FAULTS = (BrokenConnection, SilentConnection)

BROKEN_OFF = Rejected(RejectReason.NO_REPLICA, "The model broke off; a retry is safe.")
TOO_LONG = Rejected(RejectReason.DEADLINE_EXCEEDED, "The model took too long.")


class Broken(Exception):
    """An attempt failed; nothing is wrong with the request.

    Attributes:
        refused: what the client is told if nothing mends it.
        is_final: the client has waited enough; another replica would be as slow.
        is_loss: the replica may be gone, and this request may be why.

    """

    def __init__(
        self,
        refused: Rejected = BROKEN_OFF,
        *,
        is_final: bool = False,
        is_loss: bool = True,
    ) -> None:
        super().__init__(refused)
        self.refused = refused
        self.is_final = is_final
        self.is_loss = is_loss


class Failed(Broken):
    """An engine said that it failed. If it is well, what it was asked is not.

    Attributes:
        objection: what the client is told then.

    """

    def __init__(self, objection: Rejected) -> None:
        super().__init__()
        self.objection = objection


class Relay:
    """Passes responses on and leaves in the call what settling needs.

    Args:
        account: called, perhaps several times, once the engine's count is in the call and
            before the client has the end: a client that saw its answer whole finds it
            accounted for, whatever dies next.

    """

    def __init__(
        self,
        metrics: Metrics,
        note_ttft: Callable[[str, float], None],
        account: Callable[[Call], None],
    ) -> None:
        self._metrics = metrics
        self._note_ttft = note_ttft
        self._account = account

    async def relay(
        self, call: Call, response: Response, send: Send, source: Source, flow: Flow
    ) -> Rejected | None:
        """Answer the client with the engine's response, or say why it cannot be.

        Raises Broken when the engine's answer was not whole, Failed when it said why.
        Nothing is sent before the first event (or the whole body) is there.
        """
        begun = time.perf_counter()
        try:
            if response.status >= 500:
                raise _fault(response.status, await _read(response))
            if response.status >= 400:
                return from_engine(response.status, await _read(response))
            if response.content_type == "text/event-stream":
                return await self._relay_stream(call, response, send, source, flow)
            await self._relay_whole(call, response, send)
        finally:
            passed = time.perf_counter() - begun
            call.stages["relay"] = call.stages.get("relay", 0.0) + passed
        return None

    async def _relay_whole(self, call: Call, response: Response, send: Send) -> None:
        body = await _read(response)
        call.usage = read_usage(_json(body))
        if call.usage is not None and (pacer := call.pacer) is not None:
            # Delivered at once; the next request waits for what this one overdrew.
            pacer.book(call.usage.completion_tokens, now=time.monotonic())
        self.count(call, call.usage)
        _leave(call)
        kind = response.headers.get("content-type", "application/json").encode()
        if call.route.dialect is Dialect.ANTHROPIC:
            body = with_reason(body)
        call.hush()
        if call.has_head:
            # A stream was asked for, and is what its client reads by now.
            call.has_started = True
            await send({"type": "http.response.body", "body": b"data: " + body + b"\n\n"})
            return
        headers = [
            *response_headers(call),
            (b"content-type", kind),
            (b"content-length", str(len(body)).encode()),
        ]
        await self.start(call, send, 200, headers)
        await send({"type": "http.response.body", "body": body})

    async def _relay_stream(
        self, call: Call, response: Response, send: Send, source: Source, flow: Flow
    ) -> Rejected | None:
        call.live_tokens = lambda: flow.tokens + source.tokens
        tier = call.tenant.tier_name
        try:
            pump = Pump(call, source, send, flow, self._metrics.itl.labels(call.lane, tier), self)
            await pump.run(response)
            rest = source.end()
        except UPSTREAM_FAULTS as error:
            if not source.is_complete:
                raise _broken(error, is_final=not call.has_started) from error
            rest = b""
        finally:
            if source.usage is not None:
                call.usage = source.usage
            flow.tokens += source.tokens
            call.delivered_tokens = flow.tokens
            call.live_tokens = None
        if source.refused is not None:
            return source.refused
        if source.has_failed:
            raise _fault_event(source.fault)
        # What is still held back under a ceiling needs no slot of the engine's.
        _leave(call)
        await self.finish(call, send, flow, rest)
        return None

    def count(self, call: Call, usage: Usage | None) -> None:
        """Account for what the engine told, before the client has the end."""
        if usage is not None:
            call.usage = usage
            self._account(call)

    async def begin(self, call: Call, send: Send, now: float) -> None:
        """The first event is there: until now nothing was said."""
        if call.place is not None:
            call.place.begin()
        tier = call.tenant.tier_name
        call.ttft_s = now - call.started
        self._metrics.ttft.labels(call.lane, tier).observe(call.ttft_s)
        self._note_ttft(call.lane, call.ttft_s)
        await self._start_stream(call, send)

    async def _start_stream(self, call: Call, send: Send) -> None:
        call.has_started = True
        if not call.has_head:
            await self.start(call, send, 200, stream_headers(call))

    async def finish(self, call: Call, send: Send, flow: Flow, rest: bytes) -> None:
        """End a stream that is whole: what is held back, the rest, the end."""
        self.count(call, call.usage)
        if call.usage is not None and (pacer := call.pacer) is not None:
            # Tokens that came unseen, several in an event or none: the next request's debt.
            unseen = call.usage.completion_tokens - flow.tokens
            pacer.book(max(0, unseen), now=time.monotonic())
        await self._flush(call, send, flow)
        if not call.has_started:
            await self._start_stream(call, send)
        call.hush()
        await send({"type": "http.response.body", "body": rest})

    async def _flush(self, call: Call, send: Send, flow: Flow) -> None:
        while flow.held:
            out = await next_held(call, flow.held)
            if not call.has_started:
                await self.begin(call, send, time.perf_counter())
            flow.last = time.monotonic()
            await send({"type": "http.response.body", "body": out, "more_body": True})

    async def start(self, call: Call, send: Send, status: int, headers: Headers) -> None:
        """Begin the response with something to say."""
        call.has_head = call.has_started = True
        await send({"type": "http.response.start", "status": status, "headers": headers})

    async def end_broken(
        self, call: Call, fault: Rejected, send: Send, flow: Flow | None = None
    ) -> None:
        """End a stream that has begun with one error event, after what is held back."""
        if flow is not None:
            await self._flush(call, send, flow)
        call.code = "broken" if call.code == "200" else call.code
        event = error_event(fault, call.route.dialect, call.request_id)
        call.hush()
        await send({"type": "http.response.body", "body": event})

    async def refuse_late(self, call: Call, refused: Rejected, send: Send) -> None:
        """Refuse a stream whose head is out: what headers would have said is in the event."""
        event = error_event(refused, call.route.dialect, call.request_id, tells_wait=True)
        call.hush()
        await send({"type": "http.response.body", "body": event})


def _leave(call: Call) -> None:
    """The engine is done: its slot is someone else's."""
    if call.place is not None:
        call.place.begin()
        call.place.leave(call.usage.completion_tokens if call.usage else 0)


async def _read(response: Response) -> bytes:
    try:
        return await response.read()
    except UPSTREAM_FAULTS as error:
        raise _broken(error, is_final=True) from error


def _fault(status: int, body: bytes) -> Broken:
    """An engine's whole 5xx."""
    if status in NOT_NOW:
        return Broken(from_engine(status, b""), is_loss=False)
    return Failed(objection(body))


def _fault_event(data: bytes) -> Broken:
    """A stream that ended with an error event; empty: without its end mark."""
    if not data:
        return Broken()
    code = engine_error(data).get("code")
    return _fault(code if isinstance(code, int) else 500, data)


def _broken(error: Exception, *, is_final: bool) -> Broken:
    """A broken connection, or an engine that was silent for as long as it may be."""
    if isinstance(error, SilentConnection) and is_final:
        return Broken(TOO_LONG, is_final=True)
    return Broken()


def _json(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
