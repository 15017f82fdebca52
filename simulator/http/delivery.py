"""Tokens on their way to the client, as they come or all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from simulator.http.answers import Choice
from simulator.http.faults import CUT_AFTER_TOKENS
from simulator.http.forms.base import Form
from simulator.model.realtime import Stream

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

SSE = b"text/event-stream; charset=utf-8"
JSON = b"application/json"
MARK = (b"x-simulated", b"1")
"""On every response: nothing here comes from a model."""


class Delivery:
    """Delivers the choices of one request.

    Args:
        form: how they are written.
        send: the ASGI channel.
        note_gap: told the seconds between a token and the one before.
        is_cut: drop the connection after a few tokens.

    """

    def __init__(
        self, form: Form, send: Send, note_gap: Callable[[float], None], *, is_cut: bool
    ) -> None:
        self.done: set[int] = set()
        self._form = form
        self._send = send
        self._note_gap = note_gap
        self._is_cut = is_cut
        self._has_begun = False

    async def stream(self, streams: list[tuple[Choice, Stream]]) -> None:
        """Every token when it comes."""
        if len(streams) == 1:
            await self._stream_one(*streams[0])
        else:
            await asyncio.gather(*(self._stream_one(*pair) for pair in streams))
        end = self._form.end([choice for choice, _ in streams])
        await self._send({"type": "http.response.body", "body": end})

    async def whole(self, streams: list[tuple[Choice, Stream]]) -> None:
        """Everything when the last token has come."""
        for choice, stream in streams:
            last = 0
            while last < len(choice.tokens):
                _, last = await stream.take()
            self.done.add(choice.index)
        self._form.cached = sum(stream.sequence.cached_tokens for _, stream in streams)
        answer = self._form.whole([choice for choice, _ in streams])
        await respond(self._send, 200, orjson.dumps(answer))

    async def _stream_one(self, choice: Choice, stream: Stream) -> None:
        clock = asyncio.get_running_loop().time
        last, before = 0, 0.0
        while last < len(choice.tokens):
            first, last = await stream.take()
            if self._is_cut:
                last = min(last, CUT_AFTER_TOKENS)
                if first >= last:
                    # The server drops the connection without ending the response.
                    raise ConnectionAbortedError("simulated cut")
            now = clock()
            if first:
                self._note_gap((now - before) / (last - first))
                data = self._form.delta(choice, first, last)
            else:
                self._form.cached += stream.sequence.cached_tokens
                data = self._form.begin(choice, first, last)
            before = now
            if not self._has_begun:
                self._has_begun = True
                await start(self._send, 200, SSE)
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
        self.done.add(choice.index)


async def start(send: Send, status: int, kind: bytes, length: int | None = None) -> None:
    headers = [(b"content-type", kind), MARK]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def respond(send: Send, status: int, body: bytes, kind: bytes = JSON) -> None:
    await start(send, status, kind, len(body))
    await send({"type": "http.response.body", "body": body})
