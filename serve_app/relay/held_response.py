"""An engine's answer that is held until it is known whether its client gets it.

A stream's events are gathered until so many tokens are there, or the time is over, and are then
given on in one piece; a whole answer is looked at when it is there. What has happened until then
nobody was told: where the request moves, the answer is dropped, which aborts the engine's request,
and a fault is retried like any before the first event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson

from serve_app.protocol.logprobs import logprobs_of, without_logprobs
from serve_app.protocol.sse import data_line, parsed_json
from serve_app.request.hold import Hold
from serve_app.transport.feed import Push
from serve_app.transport.upstream import Response

MAX_HELD_BYTES = 2**18
"""Of events that are gathered: what has no token in so much has none that is soon."""

_SHOWN = ("content", "reasoning", "reasoning_content", "tool_calls")
"""Members of a delta that are made of tokens."""


class MovesUp(Exception):
    """The request was moved to the stronger lane: this answer is not wanted."""


class HeldResponse(Response):
    """A response whose first read waits for the decision. Raises MovesUp there."""

    __slots__ = ("_hold", "_inner", "_is_over", "_tail")

    def __init__(self, inner: Response, hold: Hold) -> None:
        self._inner, self._hold = inner, hold
        self.status, self.headers = inner.status, inner.headers
        self._tail = b""
        self._is_over = False
        # A replica may have been lost after some of its tokens.
        hold.begin_again()

    async def readany(self) -> bytes:
        if self._hold.is_open and self.status < 400:
            return await self._gather()
        return await self._inner.readany()

    async def read(self) -> bytes:
        body = await self._inner.read()
        if self.status >= 400:
            return body
        if self._hold.is_open:
            self._judge(body)
        return without_logprobs(body) if self._hold.adds else body

    async def deliver_to(self, step: Callable[[bytes], bool], push: Push | None = None) -> bool:
        return await self._inner.deliver_to(step, push)

    def read_nowait(self) -> bytes:
        return self._inner.read_nowait()

    def expect_tokens(self) -> None:
        self._inner.expect_tokens()

    def close(self) -> None:
        self._inner.close()

    # -- a stream -----------------------------------------------------------

    async def _gather(self) -> bytes:
        """Return what came until the decision, if the request stays."""
        hold, parts, size = self._hold, [], 0
        loop = asyncio.get_running_loop()
        while not (hold.has_enough or self._is_over) and size < MAX_HELD_BYTES:
            until = None if hold.first_at is None else hold.first_at + hold.hold_s
            try:
                async with asyncio.timeout_at(until) as bound:
                    chunk = await self._inner.readany()
            except TimeoutError:
                # An engine's silence is one, too.
                if not bound.expired():
                    raise
                break
            if not chunk:
                break
            parts.append(chunk)
            size += len(chunk)
            self._look(chunk, loop.time())
        if hold.first_at is not None:
            hold.held_s = loop.time() - hold.first_at
        if hold.decide():
            raise MovesUp
        return b"".join(parts)

    def _look(self, chunk: bytes, now: float) -> None:
        """Read the log-probabilities of the events that a chunk completes."""
        *events, self._tail = (self._tail + chunk).split(b"\n\n")
        for event in events:
            if self._is_over or not event:
                continue
            self._is_over = not self._read(event, now)

    def _read(self, event: bytes, now: float) -> bool:
        """Read one event; False: what follows tells no more."""
        data = parsed_json(data_line(event))
        choices = data.get("choices") if isinstance(data, dict) else None
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            # A comment tells nothing; a fault, a count or the end mark is the last.
            return event.startswith(b":")
        choice = choices[0]
        found = logprobs_of(choice)
        if found is not None:
            self._hold.take(found, now)
        elif _shows_tokens(choice):
            return False
        return choice.get("finish_reason") is None

    # -- a whole answer -----------------------------------------------------

    def _judge(self, body: bytes) -> None:
        hold, now = self._hold, asyncio.get_running_loop().time()
        hold.held_s = now - (now if hold.asked_at is None else hold.asked_at)
        try:
            answer = orjson.loads(body)
            choice = answer["choices"][0]
        except (orjson.JSONDecodeError, LookupError, TypeError):
            choice = None
        if isinstance(choice, dict):
            hold.take(logprobs_of(choice) or [], now)
        if hold.decide():
            raise MovesUp


def _shows_tokens(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta")
    return isinstance(delta, dict) and any(delta.get(name) for name in _SHOWN)
