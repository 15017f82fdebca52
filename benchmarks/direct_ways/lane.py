"""A lane's process: a mock engine behind uvicorn, and the end at which clients' sockets arrive.

Its answers are numbered words, so that a reader sees whether one is missing or came twice; `from`
in a request stands for what a resumed one says to a real engine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import os
import socket
import time
from collections import deque
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from benchmarks.direct_ways import handover
from benchmarks.direct_ways.handover import Journal, Task
from benchmarks.direct_ways.stream_work import Working
from serve_app.transport.endpoint import Guard

CHAT = "/v1/chat/completions"
LISTED = frozenset({("POST", CHAT), ("GET", "/health"), ("GET", "/stats"), ("GET", "/v1/models")})
TTFT_S, ITL_S = 0.02, 0.05

_CHUNK = (
    b'data: {"id":"chatcmpl-0123456789abcdef0123456789abcdef","object":"chat.completion.chunk",'
    b'"created":1790000000,"model":"m","choices":['
)
_BEFORE = _CHUNK + b'{"index":0,"delta":{"content":" '
_BEHIND = b'"},"logprobs":null,"finish_reason":null,"token_ids":[%d]}]}\n\n'
_USAGE = _CHUNK + b'],"usage":{"prompt_tokens":100,"total_tokens":%d,"completion_tokens":%d}}\n\n'
_DONE = b"data: [DONE]\n\n"
_JSON = [(b"content-type", b"application/json")]


def event_of(number: int) -> bytes:
    """Return one token as vLLM writes it, its id told."""
    return b"%b%d%b" % (_BEFORE, number, _BEHIND % number)


class MockEngine:
    """Generates for all of its streams in steps, as continuous batching does."""

    def __init__(self) -> None:
        self.generated = self.running = 0
        self.aborted_at: list[float] = []
        self._step: asyncio.Future[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "GET":
            stats: dict[str, Any] = {"data": [{"id": "m"}], "generated": self.generated}
            stats |= {"running": self.running, "aborted_at": self.aborted_at}
            await respond(send, orjson.dumps(stats))
            return
        asked = orjson.loads(await read_body(receive))
        answering = asyncio.ensure_future(self._answer(asked, send))
        leaving = asyncio.ensure_future(_left(receive))
        self.running += 1
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                self.aborted_at.append(time.monotonic())
        finally:
            self.running -= 1
            answering.cancel()
            leaving.cancel()

    async def _answer(self, asked: dict[str, Any], send: Send) -> None:
        first, last = int(asked.get("from", 0)), int(asked["max_tokens"])
        await asyncio.sleep(TTFT_S)
        if not asked.get("stream"):
            for _ in range(first + 1, last):
                await self._next_step()
            self.generated += last - first
            words = " ".join(map(str, range(first, last)))
            answer = {"choices": [{"message": {"role": "assistant", "content": words}}]}
            await respond(send, orjson.dumps(answer))
            return
        kind = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": kind})
        for number in range(first, last):
            if number > first and not asked.get("at_once"):
                await self._next_step()
            self.generated += 1
            event = event_of(number)
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": _USAGE % (last, last), "more_body": True})
        await send({"type": "http.response.body", "body": _DONE})

    def _next_step(self) -> asyncio.Future[None]:
        """Return what is done at the next step, the same for every stream."""
        if self._step is None:
            loop = asyncio.get_running_loop()
            self._step = loop.create_future()
            at = ITL_S * (math.floor(loop.time() / ITL_S + 1e-6) + 1)
            loop.call_at(at, self._finish_step)
        return asyncio.shield(self._step)

    def _finish_step(self) -> None:
        step, self._step = self._step, None
        if step is not None:
            step.set_result(None)


async def read_body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message: Message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def respond(send: Send, body: bytes) -> None:
    headers = [*_JSON, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class JournalingTransport:
    """A transport that has everything in the journal before it is written."""

    def __init__(self, transport: asyncio.Transport, journal: Journal, slot: int) -> None:
        self._transport = transport
        self._words, self._room = journal.words, journal.room(slot)
        self._appended_at = journal.word_at(slot, handover.APPENDED)
        self._held_at = journal.word_at(slot, handover.HELD_UNTIL)
        self._held: deque[bytes] = deque()
        self._is_closing = False

    def write(self, data: bytes) -> None:
        if self._held or self._words[self._held_at]:
            self._hold(data)
            return
        self._write(data)

    def _write(self, data: bytes) -> None:
        begin = self._words[self._appended_at]
        end = begin + len(data)
        self._room[begin:end] = data
        self._words[self._appended_at] = end
        self._transport.write(data)

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        if len(self._held) == 1:
            self._look()

    def _look(self) -> None:
        """Write what is due. The ingress says until when nothing is."""
        wait_ns = self._words[self._held_at] - time.monotonic_ns()
        if self._held and wait_ns <= 0:
            self._write(self._held.popleft())
            wait_ns = self._words[self._held_at] - time.monotonic_ns()
        if self._held:
            wait_s = min(max(wait_ns / 1e9, 0.001), 0.1)
            asyncio.get_running_loop().call_later(wait_s, self._look)
        elif self._is_closing:
            self._transport.close()

    def close(self) -> None:
        self._is_closing = True
        if not self._held:
            self._transport.close()

    def is_closing(self) -> bool:
        return self._is_closing or self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class HandedConnection(HttpToolsProtocol):
    """Uvicorn's protocol for one request on a connection that goes back afterwards."""

    def __init__(
        self, server: LaneServer, home: socket.socket, journal: Journal, task: Task
    ) -> None:
        super().__init__(server.config, server.server_state, {})
        self.app = server.works
        self._home, self._journal, self._handed = home, journal, task
        self._unread = b""
        self._is_asked = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        wrapped: Any = JournalingTransport(transport, self._journal, self._handed.slot)
        super().connection_made(wrapped)
        self.data_received(self._handed.request)
        self._is_asked = True
        lines = (line.partition(b": ") for line in self._handed.head.split(b"\r\n") if line)
        self.cycle.default_headers = [(name, value) for name, _, value in lines]

    def data_received(self, data: bytes) -> None:
        if self._is_asked:
            # The client's next request: not the lane's to read.
            self._unread += data
            return
        super().data_received(data)

    def on_response_complete(self) -> None:
        # Closes this process's descriptor, when all is written. The ingress has its own.
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        is_whole = exc is None and self.cycle.response_complete
        super().connection_lost(exc)
        how = handover.STAYS if is_whole else handover.GONE
        # The ingress may be gone: then nobody has the connection any more.
        with contextlib.suppress(OSError):
            self._home.send(handover.given_back(self._handed.slot, how, self._unread))


class LaneServer(uvicorn.Server):
    """The endpoint's server, which also takes sockets that are handed over at a path."""

    def __init__(self, app: ASGIApp, port: int, path: Path) -> None:
        self.works: Any = Working(app)
        options: dict[str, Any] = {"log_level": "error", "lifespan": "off", "loop": "none"}
        options |= {"server_header": False, "date_header": False, "access_log": False}
        super().__init__(
            uvicorn.Config(app, port=port, http="httptools", timeout_keep_alive=3600, **options)
        )
        self._path = path
        self._taking: set[asyncio.Task[None]] = set()

    async def run_with_socket(self) -> None:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listening.bind(str(self._path))
        listening.listen()
        listening.setblocking(False)
        loop = asyncio.get_running_loop()
        loop.add_reader(listening, self._accept, listening)
        await self.serve()

    def _accept(self, listening: socket.socket) -> None:
        home, _ = listening.accept()
        if handover.peer_uid(home) != os.geteuid():
            home.close()
            return
        home.setblocking(False)
        asyncio.get_running_loop().add_reader(home, self._read, home, [])

    def _read(self, home: socket.socket, journal: list[Journal]) -> None:
        message, fds, _, _ = socket.recv_fds(home, handover.MAX_MESSAGE, 1)
        if not message:
            # The ingress is gone; streams that it handed over go on.
            asyncio.get_running_loop().remove_reader(home)
            return
        task = Task.read(message)
        if task.slot == handover.HELLO:
            journal.append(Journal(fds[0]))
            return
        taking = asyncio.ensure_future(self._take(home, journal[0], task, fds[0]))
        self._taking.add(taking)
        taking.add_done_callback(self._taking.discard)

    async def _take(self, home: socket.socket, journal: Journal, task: Task, fd: int) -> None:
        client = socket.socket(fileno=fd)
        client.setblocking(False)
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: HandedConnection(self, home, journal, task), client
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", type=Path, required=True, help="of the Unix socket")
    parser.add_argument("--secret", default="", help="none: who asks is answered")
    parser.add_argument("--works", action="store_true", help="on streams, as who relays does")
    args = parser.parse_args()
    engine: ASGIApp = MockEngine()
    app = Guard(engine, args.secret, LISTED) if args.secret else engine
    if args.works:
        app = Working(app)
    asyncio.run(LaneServer(app, args.port, args.path).run_with_socket())


if __name__ == "__main__":
    main()
