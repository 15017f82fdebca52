"""CPU time of one streamed token in the ingress process, by the way it goes to its client.

    make bench-token_path
    python -m benchmarks.token_path --dry

The real `Forwarder` over an engine's stream from memory, the real protocol on a socket of the
loopback; another process reads. A token is one chunk of the engine's, and one turn of the event
loop. What is counted is this process's CPU, user and system; the kernel's delivery to
the reader's socket is part of it, as it is in a deployment. Ways take turns, in short runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import socket
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from benchmarks.support import report
from benchmarks.support.serve_layers import Pipe
from router.recovery.resume import Delivered
from serve_app.front.http_request import HttpRequest
from serve_app.front.listener.wire import Wire
from serve_app.metrics import Series
from serve_app.protocol.asgi import DirectSend
from serve_app.protocol.errors import Dialect
from serve_app.protocol.sse import EventReader
from serve_app.relay.engine_stream import FirstStream
from serve_app.relay.forwarder import Forwarder
from serve_app.relay.transcript import Transcript
from serve_app.request.reply import StreamState
from simulator.virtual_time.report import quantile

TOKENS, PARTS, WARM_UP = 200, 300, 20
CATCHES_UP_S = 0.005
READER = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as to:
    to.sendall(b"GET / HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n")
    while to.recv(65536):
        pass
"""


def events() -> list[bytes]:
    """One stream's chunks, as vLLM sends them where ids are asked for."""
    made = []
    for number in range(TOKENS):
        delta = {"index": 0, "delta": {"content": " word"}, "finish_reason": None}
        choice = {**delta, "logprobs": None, "token_ids": [number]}
        chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        made.append(b"data: %b\n\n" % json.dumps({**chunk, "choices": [choice]}).encode())
    return made


class FromMemory:
    """An engine's answer that gives a chunk in each turn of the event loop."""

    status, content_type = 200, "text/event-stream"

    def __init__(self, parts: list[bytes]) -> None:
        self._parts: Iterator[bytes] = iter(parts)

    async def readany(self) -> bytes:
        return next(self._parts, b"")

    def read_nowait(self) -> bytes:
        return b""

    async def deliver_to(self, step: Callable[[bytes], bool], push: object = None) -> bool:
        del push
        for part in self._parts:
            await asyncio.sleep(0)
            if not step(part):
                return True
        return False

    def expect_tokens(self) -> None:
        """Nothing is watched."""


async def forward(parts: list[bytes], send: Send) -> None:
    """Forward one stream; its head is the caller's."""
    call: Any = SimpleNamespace(
        charge=SimpleNamespace(pacer=None, covered_tokens=math.inf),
        served=SimpleNamespace(hold=None, paced_s=0.0, first_tokens_s=0.0),
        reply=SimpleNamespace(stream=StreamState()),
    )
    transcript = Transcript(Delivered(), is_chat=True, has_ids=True, shows_ids=False)
    stream = FirstStream(EventReader(hide_usage=False), transcript, Dialect.OPENAI)
    await Forwarder(call, stream, send, Series((1.0,)), _begin, _count).run(
        FromMemory(parts)  # type: ignore[arg-type]
    )


async def _begin(*_: Any) -> None:
    """The head is out."""


def _count(*_: Any) -> None:
    """Nobody counts."""


async def _nothing(_: Any) -> None:
    """Nobody is there."""


NOWHERE = DirectSend(_nothing, lambda _: None)


Ways = dict[str, Callable[[HttpRequest], Send]]


class Measured:
    """The application: streams for ever, one way after the other, and counts their CPU."""

    def __init__(self, ways: Ways, rests_s: float) -> None:
        self._ways, self._rests_s = ways, rests_s
        self.spent: dict[str, list[float]] = {name: [] for name in ways}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        request, parts = HttpRequest(scope, receive, send), events()
        await request.send({"type": "http.response.start", "status": 200, "headers": []})
        for part in range(PARTS + WARM_UP):
            for name, way in self._ways.items():
                chosen = way(request)
                # The reader has everything: each token of the next stream is a system call.
                await asyncio.sleep(self._rests_s)
                begun = time.process_time()
                await forward(parts, chosen)
                if part >= WARM_UP:
                    self.spent[name].append(1e6 * (time.process_time() - begun) / TOKENS)
        await request.send({"type": "http.response.body", "body": b""})


class Mute(Pipe):
    """A connection over which nothing goes: what is written costs next to nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.write = deque[bytes](maxlen=0).append  # type: ignore[method-assign, assignment]


async def measured(protocol: type[Any], ways: Ways, *, sockets: bool) -> dict[str, list[float]]:
    """Microseconds of CPU a token of each part, by way."""
    app = Measured(ways, CATCHES_UP_S if sockets else 0.0)
    config = uvicorn.Config(app, lifespan="off", access_log=False, log_level=None, log_config=None)
    config.load()
    state = ServerState()
    if not sockets:
        made = protocol(config, state, {})
        made.connection_made(Mute())
        made.data_received(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await asyncio.gather(*state.tasks)
        return app.spent
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        server = await asyncio.get_running_loop().create_server(
            lambda: protocol(config, state, {}), sock=place
        )
        port = str(place.getsockname()[1])
        reader = await asyncio.create_subprocess_exec(sys.executable, "-c", READER, port)
        await reader.wait()
        server.close()
    return app.spent


def found(*, sockets: bool) -> list[dict[str, Any]]:
    ours: Ways = {
        "nowhere": lambda _: NOWHERE,
        "own listener, ASGI's send": lambda request: request.send,
        "own listener, write": lambda request: request.sender,
    }
    uvicorns: Ways = {"uvicorn, ASGI's send": lambda request: request.send}
    spent = uvloop.run(measured(Wire, ours, sockets=sockets))
    spent |= uvloop.run(measured(HttpToolsProtocol, uvicorns, sockets=sockets))
    base = statistics.median(spent["nowhere"])
    return [
        {
            "way": way,
            "socket": "yes" if sockets else "no",
            "cpu_us": statistics.median(each),
            "p5_us": quantile(each, 0.05),
            "sending_us": statistics.median(each) - base,
        }
        for way, each in spent.items()
    ]


def rows() -> list[dict[str, Any]]:
    return [*found(sockets=False), *found(sockets=True)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dry", action="store_true", help="print; write no results")
    args = parser.parse_args()
    if args.dry:
        print(report.table(rows()))
        return
    report.write(
        "token_path",
        rows(),
        title="What a streamed token costs in the ingress process, by its way to the client",
        notes=f"CPU microseconds a token: {PARTS} streams of {TOKENS} tokens for each way, in "
        "turn, the median stream's and the fifth percentile's (`p5_us`). `nowhere`: read, counted, "
        "kept, and not sent; `sending_us`: what the others take more. With a socket that is mostly "
        "the system call, which a reader that sleeps makes dearer; without, it is ours alone. "
        "Command: `make bench-token_path`.",
    )


if __name__ == "__main__":
    main()
