"""Moving an engine's answer to the client, whole or event by event."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator

import aiohttp
import orjson

from router.ceiling import Pacer
from router.errors import Rejected, RejectReason
from serve_app.call import Call
from serve_app.endpoint import Send
from serve_app.http_errors import error_event, from_engine
from serve_app.metrics import Metrics
from serve_app.response_headers import Headers, response_headers
from serve_app.streaming import EventReader, read_usage

BROKEN_OFF = Rejected(RejectReason.NO_REPLICA, "The model broke off; a retry is safe.")


class Relay:
    """Passes responses on and leaves in the call what settling needs."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def relay(
        self, call: Call, response: aiohttp.ClientResponse, send: Send
    ) -> Rejected | None:
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
        except (aiohttp.ClientError, ConnectionError, TimeoutError):
            if not call.has_started:
                return BROKEN_OFF
            await self.end_broken(call, BROKEN_OFF, send)
        finally:
            call.stages["relay"] = time.perf_counter() - begun
        return None

    async def _relay_whole(self, call: Call, response: aiohttp.ClientResponse, send: Send) -> None:
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

    async def _relay_stream(self, call: Call, response: aiohttp.ClientResponse, send: Send) -> None:
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

    async def _pump(
        self, call: Call, response: aiohttp.ClientResponse, reader: EventReader, send: Send
    ) -> None:
        """Move events until the engine is done: the only code that runs per token."""
        tier = call.tenant.tier_name
        observe_itl = self._metrics.itl.labels(call.lane, tier).observe
        pacer = call.pacer
        chunks: AsyncIterator[bytes] = response.content.iter_any()
        if pacer is not None:
            chunks = _paced(call, response.content, reader, pacer)
        last = 0.0
        clock = time.perf_counter
        async for chunk in chunks:
            out = chunk if pacer is not None else reader.feed(chunk)
            if not out:
                continue
            now = clock()
            if last:
                observe_itl(now - last)
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


async def _paced(
    call: Call, content: aiohttp.StreamReader, reader: EventReader, pacer: Pacer
) -> AsyncIterator[bytes]:
    """Pass tokens on under the tenant's tokens-per-second ceiling.

    What has arrived is taken up and booked before each wait, so the engine is
    always read at full speed and the tenant's debt is known as it grows:
    withholding reads would only make the engine merge deltas.
    """
    held: deque[tuple[float, bytes]] = deque()
    while True:
        if held:
            chunk = _arrived(content)
        else:
            chunk = await content.readany()
            if not chunk:
                return
        for event, tokens in _events(reader, chunk):
            now = time.monotonic()
            held.append((now + pacer.delay(tokens, now=now), event))
        if held:
            due, event = held.popleft()
            wait = due - time.monotonic()
            if wait > 0:
                call.paced_s += wait
                await asyncio.sleep(wait)
            yield event


def _arrived(content: aiohttp.StreamReader) -> bytes:
    """What can be read without waiting. A fault shows when nothing is held back."""
    if content.exception() is not None:
        return b""
    return content.read_nowait()


def _events(reader: EventReader, chunk: bytes) -> list[tuple[bytes, int]]:
    """The whole events that `chunk` completes, each with its number of tokens."""
    before = reader.events
    out = reader.feed(chunk)
    tokens = reader.events - before
    if tokens <= 1:
        return [(out, tokens)] if out else []
    return [(event + b"\n\n", 1) for event in out.split(b"\n\n") if event]


def _json(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
