"""Moving one stream's events from the engine to the client: the only code that runs per token.

A chunk that finds nothing in its way is passed on where it arrives, in the connection's
callback: no task wakes for it. The task takes over where something has to be waited for:
the first event, one that is held back under a ceiling, a client that does not read.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Generator
from functools import partial
from typing import Any, Protocol

from starlette.types import Send

from router.limits.pacer import DUE, Paces
from serve_app.metrics import Series
from serve_app.protocol.sse import Usage
from serve_app.relay.engine_stream import Source
from serve_app.request.call import Call
from serve_app.request.reply import StreamState
from serve_app.transport.upstream import Response

MAX_NAP_S = 0.1
"""The pace may have changed after so long."""


class Owner(Protocol):
    """What a stream's first event and its count mean."""

    async def begin(self, call: Call, send: Send, now: float) -> None:
        """The first event is there."""

    def count(self, call: Call, usage: Usage | None) -> None:
        """The engine has told its count."""


class Pump:
    """One attempt's events.

    Args:
        itl: takes the gaps between what is passed on.
        owner: told of the first event and of the count.

    """

    __slots__ = (
        "_begins",
        "_call",
        "_charge",
        "_covered",
        "_flow",
        "_half",
        "_itl",
        "_owner",
        "_pacer",
        "_send",
        "_source",
        "_ticket",
    )

    def __init__(
        self, call: Call, source: Source, send: Send, flow: StreamState, itl: Series, owner: Owner
    ) -> None:
        self._call, self._source, self._send, self._flow = call, source, send, flow
        self._itl, self._owner, self._pacer = itl, owner, call.charge.pacer
        hold = call.served.hold
        self._ticket = hold.ticket if hold is not None else None
        self._charge, self._covered = call.charge, call.charge.covered_tokens
        self._half: _Half | None = None
        # Until it is past the role and the first token.
        self._begins: Response | None = None

    async def run(self, response: Response) -> None:
        """Until the engine is done. Raises what reading and sending raise."""
        self._begins = response if self._source.is_steady else None
        try:
            await self._run(response)
        finally:
            if self._half is not None:
                # Cancelled in the turn in which a send had begun to wait.
                self._half.close()

    async def _run(self, response: Response) -> None:
        source, flow, held = self._source, self._flow, self._flow.held
        while not source.is_over:
            if flow.last and not held:
                has_ended = not await response.deliver_to(self._pass_on)
                if self._half is not None:
                    half, self._half = self._half, None
                    await half
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
                out = await next_held(self._call, held)
            if flow.last:
                self._note(time.monotonic())
            else:
                await self._owner.begin(self._call, self._send, time.perf_counter())
                flow.last = time.monotonic()
                self._note_count()
            await self._send({"type": "http.response.body", "body": out, "more_body": True})

    def _pass_on(self, chunk: bytes) -> bool:
        """One chunk from the engine, at once; False where the task has to see to the rest."""
        now = time.monotonic()
        out = self._take(chunk, now)
        if out:
            self._note(now)
            message = {"type": "http.response.body", "body": out, "more_body": True}
            sending = self._send(message).__await__()
            try:
                waits_for = next(sending)
            except StopIteration:
                pass
            else:
                self._half = _Half(waits_for, sending)
                return False
        return not (self._flow.held or self._source.is_over)

    def _take(self, chunk: bytes, now: float) -> bytes:
        """Read and book a chunk; what of it may go now."""
        source, flow = self._source, self._flow
        if self._pacer is None:
            out = source.feed(chunk)
        else:
            out = book(source, chunk, self._pacer, flow.held, now)
        tokens = flow.tokens + source.tokens
        if self._ticket is not None:
            self._ticket.deliver(tokens)
        if tokens > self._covered:
            self._covered = self._charge.cover(tokens, now=now)
        if self._begins is not None and source.tokens > 1:
            self._begins.expect_tokens()
            self._begins = None
        return out

    def _note(self, now: float) -> None:
        flow = self._flow
        self._itl.observe(now - flow.last)
        flow.last = now
        self._note_count()

    def _note_count(self) -> None:
        source = self._source
        if source.is_counted or source.is_over:
            self._owner.count(self._call, source.usage)


class _Half:
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
    """The next event that was held back, when it is due."""
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
    source: Source, chunk: bytes, pacer: Paces, held: deque[tuple[float, bytes]], now: float
) -> bytes:
    """Book what has arrived under the tokens-per-second ceiling; return what may go now.

    The rest is held back until it is due. What has arrived is booked before each
    wait, so the engine is always read at full speed and the tenant's debt is known
    as it grows: withholding reads would only make the engine merge deltas.
    """
    if chunk.count(b"\n\n") <= 1:
        return _book_event(source, chunk, pacer, held, now)
    *whole, rest = chunk.split(b"\n\n")
    parts = [event + b"\n\n" for event in whole] + [rest]
    return b"".join(_book_event(source, part, pacer, held, now) for part in parts if part)


def _book_event(
    source: Source, chunk: bytes, pacer: Paces, held: deque[tuple[float, bytes]], now: float
) -> bytes:
    """The same for what ends one event at most; one of many tokens waits for its last."""
    before = source.tokens
    out = source.feed(chunk)
    position = pacer.hold(source.tokens - before, now=now)
    if position == DUE and not held:
        return out
    if out:
        held.append((position, out))
    return b""
