"""CPU time of one streamed token from an engine's bytes to bytes to be written, without Ray.

    python -m benchmarks.pump
    POINTSMAN_PUMP=python python -m benchmarks.pump

The real connection, stream, forwarder and writer of chunks, with a ticket and a charge, under no
ceiling and under one of tokens a second. `feed`: bytes are handed to the connection; `socket`:
they come through a socket pair on uvloop, whose reading is then a part of it. In the place of
the client's socket is a function that counts. Figures are the process's CPU in parts of so many
tokens: the median part and the least disturbed one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import socket
import statistics
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import uvloop

from router.admission.fair_queue import Account
from router.admission.ticket import Ticket, Tier
from router.limits.pacer import Pacer
from router.recovery.resume import Delivered
from serve_app.config.serving import TimeoutConfig
from serve_app.metrics import Series
from serve_app.protocol.asgi import DirectSend
from serve_app.protocol.errors import Dialect
from serve_app.protocol.sse import EventReader
from serve_app.relay.engine_stream import FirstStream
from serve_app.relay.forwarder import Forwarder
from serve_app.relay.pump.choice import twin
from serve_app.relay.transcript import Transcript
from serve_app.request.reply import StreamState
from serve_app.transport.connection import Connection
from serve_app.transport.upstream import Response, Upstream

PART, PARTS = 1_000, 60
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_ITL = (0.002, 0.005, 0.008, 0.012, 0.02, 0.035, 0.05, 0.1, 0.2, 0.5, 1, 5)


def token(number: int) -> bytes:
    """One chunk as vLLM's server sends it through the endpoint."""
    choice = {
        "index": 0,
        "delta": {"content": f" word{number % 97}"},
        "logprobs": None,
        "finish_reason": None,
        "token_ids": [number % 50_000],
    }
    data = {
        "id": "chatcmpl-9a1f0c6e5d7b4c3e8a2b1d0f9e8c7b6a",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": "Qwen/Qwen3-8B",
        "choices": [choice],
    }
    event = b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


class Taken:
    """A client that takes what comes."""

    is_full = False

    def __init__(self) -> None:
        self.bodies = 0
        chunks = twin().Chunks(self, self._take, self._take)  # type: ignore[arg-type]
        chunks.streams = True
        self.send = DirectSend(self._send, chunks.write)

    async def _send(self, _: Any) -> None:
        self.bodies += 1

    def _take(self, _: bytes) -> None:
        self.bodies += 1

    async def has(self, bodies: int) -> None:
        """Return once it has so many; the loop does nothing else."""
        while self.bodies < bodies:  # noqa: ASYNC110 - an event would cost a turn of its own
            await asyncio.sleep(0)


async def forwarding(connection: Connection, *, is_paced: bool) -> tuple[Taken, Any]:
    """Return a client and the task that forwards to it, once its stream's head is there."""
    now = time.monotonic()
    account = Account("t", 1.0, 0.0)
    ticket = Ticket(Tier("t"), account, 1, 100, now + 60)
    call = SimpleNamespace(
        charge=SimpleNamespace(
            pacer=Pacer(1e9, now=now) if is_paced else None, covered_tokens=math.inf
        ),
        served=SimpleNamespace(
            hold=SimpleNamespace(ticket=ticket), paced_s=0.0, first_tokens_s=None
        ),
        started=time.perf_counter(),
        reply=SimpleNamespace(stream=StreamState()),
    )
    transcript = Transcript(Delivered(), is_chat=True, has_ids=True, shows_ids=False)
    stream = FirstStream(EventReader(hide_usage=True), transcript, Dialect.OPENAI)

    async def begin(*_: Any) -> None:
        """Say nothing."""

    def count(*_: Any) -> None:
        """Nobody asks."""

    client = Taken()
    forwarder = Forwarder(call, stream, client.send, Series(_ITL), begin, count)  # type: ignore[arg-type]
    response = Response(connection, connection.status, connection.headers)
    return client, asyncio.create_task(forwarder.run(response))


async def fed(*, is_paced: bool) -> Iterator[float]:
    """Microseconds a token, part by part, of bytes that are handed over."""
    upstream = Upstream({}, TimeoutConfig(connect_s=1, read_s=30))
    connection = Connection(upstream, "http://engine", twin().Feed)
    wire: Any = SimpleNamespace(write=lambda _: None, is_closing=lambda: False, abort=lambda: None)
    connection.connection_made(wire)
    asking = asyncio.create_task(connection.send(b""))
    await asyncio.sleep(0)
    connection.data_received(HEAD)
    await asking
    client, task = await forwarding(connection, is_paced=is_paced)
    await asyncio.sleep(0)
    connection.data_received(token(0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    figures, receive = [], connection.data_received
    for _ in range(PARTS):
        tokens = [token(number) for number in range(PART)]
        begun = time.process_time()
        for one in tokens:
            receive(one)
        figures.append((time.process_time() - begun) / PART * 1e6)
        await asyncio.sleep(0)
    if client.bodies != 1 + PART * PARTS:
        raise RuntimeError(client.bodies)
    task.cancel()
    return iter(figures)


async def through_sockets(*, is_paced: bool) -> Iterator[float]:
    """The same of bytes that come through a socket; writing them is not counted."""
    ours, engine = socket.socketpair()
    engine.setblocking(False)
    loop = asyncio.get_running_loop()
    upstream = Upstream({}, TimeoutConfig(connect_s=1, read_s=30))
    _, connection = await loop.create_connection(
        lambda: Connection(upstream, "http://engine", twin().Feed), sock=ours
    )
    asking = asyncio.create_task(connection.send(b"x"))
    await asyncio.sleep(0)
    engine.send(HEAD)
    await asking
    client, task = await forwarding(connection, is_paced=is_paced)
    engine.send(token(0))
    await client.has(1)
    figures = []
    for _ in range(PARTS):
        spent = 0.0
        for one in [token(number) for number in range(PART)]:
            engine.send(one)
            begun, before = time.process_time(), client.bodies
            await client.has(before + 1)
            spent += time.process_time() - begun
        figures.append(spent / PART * 1e6)
    task.cancel()
    engine.close()
    return iter(figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    for level, measure in {"feed": fed, "socket": through_sockets}.items():
        for is_paced in (False, True):
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                figures = [*runner.run(measure(is_paced=is_paced))]
            name = f"{level}, {'ceiling' if is_paced else 'free'}"
            print(f"{name}: {statistics.median(figures):.2f} us a token, least {min(figures):.2f}")


if __name__ == "__main__":
    main()
