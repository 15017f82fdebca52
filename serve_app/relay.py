"""Moving an engine's answer to the client, whole or event by event."""

from __future__ import annotations

import asyncio
import time
from collections import deque

import orjson

from router.ceiling import Pacer
from router.errors import Rejected, RejectReason
from serve_app.call import Call
from serve_app.endpoint import Send
from serve_app.http_errors import error_event, from_engine
from serve_app.metrics import Metrics
from serve_app.response_headers import Headers, response_headers
from serve_app.streaming import EventReader, read_usage
from serve_app.upstream import Response

BROKEN_OFF = Rejected(RejectReason.NO_REPLICA, "The model broke off; a retry is safe.")


class Relay:
    """Passes responses on and leaves in the call what settling needs."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def relay(self, call: Call, response: Response, send: Send) -> Rejected | None:
        """Answer the client with the engine's response, or say why it cannot be.

        A refusal comes back only while nothing has been sent; after that a fault
        ends the stream with an error event.
        """
        begun = time.perf_counter()
        try:
            if response.status >= 400:
                return from_engine(response.status, await response.read())
            if response.content_type == "text/event-stream":
                await self._relay_stream(call, response, send)
            else:
                await self._relay_whole(call, response, send)
        except (ConnectionError, TimeoutError):
            if not call.has_started:
                return BROKEN_OFF
            await self.end_broken(call, BROKEN_OFF, send)
        finally:
            call.stages["relay"] = time.perf_counter() - begun
        return None

    async def _relay_whole(self, call: Call, response: Response, send: Send) -> None:
        body = await response.read()
        call.usage = read_usage(_json(body))
        if call.usage is not None and (pacer := call.pacer) is not None:
            # Delivered at once; the next request waits for what this one overdrew.
            pacer.delay(call.usage.completion_tokens, now=time.monotonic())
        kind = response.headers.get("content-type", "application/json").encode()
        headers = [
            *response_headers(call),
            (b"content-type", kind),
            (b"content-length", str(len(body)).encode()),
        ]
        await self.start(call, send, 200, headers)
        await send({"type": "http.response.body", "body": body})

    async def _relay_stream(self, call: Call, response: Response, send: Send) -> None:
        assert call.parsed is not None
        reader = EventReader(hide_usage=not call.parsed.wants_usage)
        headers = [
            *response_headers(call),
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
        ]
        await self.start(call, send, 200, headers)
        try:
            await self._pump(call, response, reader, send)
        finally:
            call.usage = reader.usage
            call.delivered_tokens = reader.events
        if reader.has_failed:
            await self.end_broken(call, BROKEN_OFF, send)
        else:
            await send({"type": "http.response.body", "body": b""})

    async def _pump(self, call: Call, response: Response, reader: EventReader, send: Send) -> None:
        """Move events until the engine is done: the only code that runs per token."""
        tier = call.tenant.tier_name
        itl = self._metrics.itl.of(call.lane, tier)
        pacer, clock = call.pacer, time.perf_counter
        held: deque[tuple[float, bytes]] = deque()
        last = 0.0
        while True:
            chunk = response.read_nowait() if held else await response.readany()
            out = b""
            if chunk:
                out = reader.feed(chunk) if pacer is None else _book(reader, chunk, pacer, held)
            elif not held:
                return
            if not out:
                if not held:
                    continue
                due, out = held.popleft()
                wait = due - time.monotonic()
                if wait > 0:
                    call.paced_s += wait
                    await asyncio.sleep(wait)
            now = clock()
            if last:
                itl.observe(now - last)
            else:
                self._metrics.ttft.labels(call.lane, tier).observe(now - call.started)
            last = now
            await send({"type": "http.response.body", "body": out, "more_body": True})

    async def start(self, call: Call, send: Send, status: int, headers: Headers) -> None:
        """Begin the response."""
        call.has_started = True
        await send({"type": "http.response.start", "status": status, "headers": headers})

    async def end_broken(self, call: Call, fault: Rejected, send: Send) -> None:
        """End a stream that has begun with one error event."""
        call.code = "broken" if call.code == "200" else call.code
        event = error_event(fault, call.route.dialect)
        await send({"type": "http.response.body", "body": event})


def _book(
    reader: EventReader, chunk: bytes, pacer: Pacer, held: deque[tuple[float, bytes]]
) -> bytes:
    """Book what has arrived under the tokens-per-second ceiling; return what may go now.

    The rest is held back until it is due. What has arrived is booked before each
    wait, so the engine is always read at full speed and the tenant's debt is known
    as it grows: withholding reads would only make the engine merge deltas.
    """
    before = reader.events
    out = reader.feed(chunk)
    tokens = reader.events - before
    now = time.monotonic()
    if tokens <= 1:
        delay = pacer.delay(tokens, now=now)
        if held or delay > 0:
            if out:
                held.append((now + delay, out))
            return b""
        return out
    ready = []
    for event in out.split(b"\n\n"):
        if not event:
            continue
        delay = pacer.delay(1, now=now)
        if held or delay > 0:
            held.append((now + delay, event + b"\n\n"))
        else:
            ready.append(event + b"\n\n")
    return b"".join(ready)


def _json(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
