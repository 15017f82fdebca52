"""Moving one stream's events from the engine to the client: the only code that runs per token.

A chunk that finds nothing in its way is passed on where it arrives, in the connection's
callback: no task wakes for it. The task takes over where something has to be waited for:
the first event, one that is held back under a ceiling, a client that does not read.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any

from starlette.types import Send

from router.limits.pacer import DUE, Paces
from router.slo.judging import FIRST_TOKENS
from serve_app.metrics import Series
from serve_app.protocol.asgi import write_of
from serve_app.protocol.sse import Usage
from serve_app.relay.engine_stream import EngineStream
from serve_app.relay.pump.choice import pump_for
from serve_app.relay.pump.python import Pump
from serve_app.request.call import Call
from serve_app.transport.upstream import Response

MAX_NAP_S = 0.1
"""The pace may have changed after so long."""


class Forwarder:
    """One attempt's events; `itl` takes the gaps between them.

    `begin` is awaited when the first event is there, `count` is told the engine's count.
    """

    def __init__(
        self,
        call: Call,
        stream: EngineStream,
        send: Send,
        itl: Series,
        begin: Callable[[Call, Send, float], Awaitable[None]],
        count: Callable[[Call, Usage | None], None],
    ) -> None:
        self._call, self._stream, self._send, self._itl = call, stream, send, itl
        self._begin, self._count = begin, count
        self._state, self._charge = call.reply.stream, call.charge
        self._pacer, self._covered = call.charge.pacer, call.charge.covered_tokens
        # One comparison a token for both: what was charged, and the first tokens.
        self._limit = min(self._covered, FIRST_TOKENS - 1)
        hold = call.served.hold
        self._ticket = hold.ticket if hold is not None else None
        # Goes with this very `send`: whoever looks at bodies has put another one before it.
        self._write = write_of(send) or partial(begun, send)
        self._suspended: SuspendedSend | asyncio.Future[None] | None = None
        # Under a ceiling: the wait before the next chunk is read, and when the last one came.
        self._nap_s = self._came_at = 0.0
        self._pump = pump_for(
            stream, self._state, itl, self._ticket, self._pacer, self._write, self._suspend
        )
        # Until it is past the role and the first token.
        self._begins: Response | None = None

    async def run(self, response: Response) -> None:
        """Forward until the engine is done. Raises what reading and sending raise."""
        self._begins = response if self._stream.is_steady else None
        try:
            await self._run(response)
        finally:
            # It holds this object.
            self._pump = None
            if self._suspended is not None:
                # Cancelled in the turn in which a send had begun to wait.
                _drop(self._suspended)

    async def _run(self, response: Response) -> None:
        stream, state, held = self._stream, self._state, self._state.held
        while not stream.is_over:
            if state.last and not held:
                push = None if self._pump is None else self._armed(self._pump).push
                has_ended = not await response.deliver_to(self._pass_on, push)
                if self._suspended is not None:
                    suspended, self._suspended = self._suspended, None
                    await suspended
                elif has_ended:
                    return
                continue
            chunk = response.read_nowait() if held else await response.readany()
            out = b""
            if chunk:
                out = self._take(chunk, time.monotonic())
            elif not held:
                return
            if not out:
                if not held:
                    continue
                out = await self._next_held()
            if state.last:
                self._note(time.monotonic())
            else:
                await self._begin(self._call, self._send, time.perf_counter())
                state.last = time.monotonic()
                self._note_count()
            state.newest = out
            await self._send({"type": "http.response.body", "body": out, "more_body": True})

    async def _next_held(self) -> bytes:
        served, paced_s = self._call.served, self._call.served.paced_s
        out = await next_held(self._call, self._state.held)
        self._nap_s = served.paced_s - paced_s
        return out

    def _pass_on(self, chunk: bytes) -> bool:
        """Forward one chunk at once; return False where the task has to see to the rest."""
        now = time.monotonic()
        out = self._take(chunk, now)
        if out:
            self._note(now)
            self._state.newest = out
            if not self._give(out):
                return False
        if self._pump is not None:
            self._armed(self._pump)
        return not (self._state.held or self._stream.is_over)

    def _give(self, out: bytes) -> bool:
        """Send events; return False where the task has to wait until they are gone."""
        self._suspended = self._write(out)
        return self._suspended is None

    def _suspend(self, suspended: SuspendedSend | asyncio.Future[None]) -> None:
        self._suspended = suspended

    def _armed(self, pump: Pump) -> Pump:
        """The pump, told how far it may go without anybody else, after what was done here."""
        if self._begins is None and not self._nap_s and self._stream.is_plain:
            pump.arm(self._limit)
        else:
            pump.disarm()
        return pump

    def _take(self, chunk: bytes, now: float) -> bytes:
        stream, state = self._stream, self._state
        if self._pacer is None:
            out = stream.feed(chunk)
        else:
            # It may have come at any time of the last nap, which is the tenant's own.
            self._came_at, self._nap_s = time.perf_counter() - self._nap_s, 0.0
            out = book(stream, chunk, self._pacer, state.held, now)
            if state.held:
                state.read = state.tokens + stream.tokens, self._came_at
        tokens = state.tokens + stream.tokens
        if self._ticket is not None:
            self._ticket.deliver(tokens)
        if tokens > self._limit:
            self._pass_limit(tokens, now)
        if self._begins is not None and stream.tokens > 1:
            self._begins.expect_tokens()
            self._begins = None
        return out

    def _pass_limit(self, tokens: int, now: float) -> None:
        """Charge what the stream has outgrown, and note when its first tokens were there."""
        if tokens > self._covered:
            self._covered = self._charge.cover(tokens, now=now)
        self._limit, served = self._covered, self._call.served
        if served.first_tokens_s is None:
            if tokens - self._stream.untold_tokens >= FIRST_TOKENS:
                came_at = time.perf_counter() if self._pacer is None else self._came_at
                served.first_tokens_s = came_at - self._call.started
            else:
                # Held by the gate: they are looked for again with each token.
                self._limit = min(self._limit, FIRST_TOKENS - 1)

    def _note(self, now: float) -> None:
        state = self._state
        self._itl.observe(now - state.last)
        state.last = now
        self._note_count()

    def _note_count(self) -> None:
        stream = self._stream
        if stream.reader.is_counted or stream.is_over:
            self._count(self._call, stream.usage)


def begun(send: Send, out: bytes) -> SuspendedSend | None:
    """Send a piece of a body from a callback; return the rest of a send that has to wait."""
    sending = send({"type": "http.response.body", "body": out, "more_body": True}).__await__()
    try:
        waits_for = next(sending)
    except StopIteration:
        return None
    return SuspendedSend(waits_for, sending)


def _drop(suspended: SuspendedSend | asyncio.Future[None]) -> None:
    # What a future waits for has been taken: nothing is left to be ended.
    if isinstance(suspended, SuspendedSend):
        suspended.close()


class SuspendedSend:
    """An await that was begun in a callback and has to wait: the rest of it, for a task."""

    __slots__ = ("_rest", "_waits_for")

    def __init__(self, waits_for: Any, rest: Generator[Any, Any, None]) -> None:
        self._waits_for, self._rest = waits_for, rest

    def close(self) -> None:
        self._rest.close()

    def __await__(self) -> Generator[Any, Any, None]:
        waits_for = self._waits_for
        while True:
            # A future that was yielded keeps its mark until a task has seen it.
            try:
                sent = yield waits_for
            except BaseException as error:  # noqa: BLE001 - the rest's to deal with
                go_on = partial(self._rest.throw, error)
            else:
                go_on = partial(self._rest.send, sent)
            try:
                waits_for = go_on()
            except StopIteration:
                return


async def next_held(call: Call, held: deque[tuple[float, bytes]]) -> bytes:
    """Return the next event that was held back, when it is due."""
    position, out = held.popleft()
    pacer = call.charge.pacer
    while pacer is not None:
        nap = min(pacer.wait_s(position, now=time.monotonic()), MAX_NAP_S)
        if nap <= 0:
            break
        call.served.paced_s += nap
        await asyncio.sleep(nap)
    return out


def book(
    stream: EngineStream, chunk: bytes, pacer: Paces, held: deque[tuple[float, bytes]], now: float
) -> bytes:
    """Book what has arrived under the tokens-per-second ceiling; return what may go now.

    The rest is held back until it is due. What has arrived is booked before each
    wait, so the engine is always read at full speed and the tenant's debt is known
    as it grows: withholding reads would only make the engine merge deltas.
    """
    if chunk.count(b"\n\n") <= 1:
        return _book_event(stream, chunk, pacer, held, now)
    *whole, rest = chunk.split(b"\n\n")
    parts = [event + b"\n\n" for event in whole] + [rest]
    return b"".join(_book_event(stream, part, pacer, held, now) for part in parts if part)


def _book_event(
    stream: EngineStream, chunk: bytes, pacer: Paces, held: deque[tuple[float, bytes]], now: float
) -> bytes:
    """Book what ends one event at most; one of many tokens waits for its last."""
    before = stream.tokens
    out = stream.feed(chunk)
    position = pacer.hold(stream.tokens - before, now=now)
    if position == DUE and not held:
        return out
    if out:
        held.append((position, out))
    return b""
