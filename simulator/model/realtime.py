"""The engine on the event loop's clock."""

from __future__ import annotations

import asyncio
from typing import Protocol

from simulator.model.engine import Sequence, StepResult

MIN_TICK_S = 0.001
"""Tokens due within this of each other are given in one go."""


class Engine(Protocol):
    """What `BatchingEngine` and `FixedEngine` have in common."""

    slowdown: float
    preemptions: int

    @property
    def running(self) -> int: ...

    @property
    def waiting(self) -> int: ...

    @property
    def next_at(self) -> float | None:
        """When something happens next; None while idle."""
        ...

    def utilization(self) -> float:
        """Share of KV blocks in use."""
        ...

    def add(self, sequence: Sequence, now: float) -> None: ...

    def abort(self, sequence: Sequence) -> None: ...

    def advance(self) -> StepResult:
        """Carry out what is due next."""
        ...


class Stream:
    """The tokens of one sequence as they come, by number."""

    __slots__ = ("_arrived", "_taken", "_waiter", "sequence")

    def __init__(self, sequence: Sequence) -> None:
        self.sequence = sequence
        self._arrived = 0
        self._taken = 0
        self._waiter: asyncio.Future[None] | None = None

    def push(self) -> None:
        self._arrived += 1
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def take(self) -> tuple[int, int]:
        """Wait for tokens; those with numbers [first, last) have come since last time.

        `first == last` when the sequence is over.
        """
        if self._arrived == self._taken:
            if self._taken >= self.sequence.output_tokens:
                return self._taken, self._taken
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
            self._waiter = None
        first, self._taken = self._taken, self._arrived
        return first, self._taken


class RealTimeEngine:
    """Runs an engine on the running event loop: one timer, whatever the batch.

    A step is carried out when its time has come and is dated by when it was due, so
    a busy event loop delays tokens but the engine does not drift.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._streams: dict[Sequence, Stream] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        self._ticked_at = 0.0

    def submit(self, sequence: Sequence) -> Stream:
        """Begin a sequence. Raises ValueError when it can never run."""
        loop = asyncio.get_running_loop()
        self._catch_up(loop.time())
        self.engine.add(sequence, loop.time())
        stream = self._streams[sequence] = Stream(sequence)
        self._set_timer(loop)
        return stream

    def abort(self, stream: Stream) -> None:
        """Drop a sequence, unless it is over."""
        if self._streams.pop(stream.sequence, None) is not None:
            self.engine.abort(stream.sequence)

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        at = self.engine.next_at
        if at is not None:
            at = max(at, self._ticked_at + MIN_TICK_S)
        if at == self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if at is None else loop.call_at(at, self._tick)
        self._timer_at = at

    def _tick(self) -> None:
        self._timer = self._timer_at = None
        loop = asyncio.get_running_loop()
        self._ticked_at = loop.time()
        self._catch_up(self._ticked_at)
        self._set_timer(loop)

    def _catch_up(self, now: float) -> None:
        engine, streams = self.engine, self._streams
        while (at := engine.next_at) is not None and at <= now:
            result = engine.advance()
            for sequence in result.first:
                if sequence in streams:
                    streams[sequence].push()
            for sequence in result.decoded:
                if sequence in streams:
                    streams[sequence].push()
            for sequence in result.finished:
                streams.pop(sequence, None)
