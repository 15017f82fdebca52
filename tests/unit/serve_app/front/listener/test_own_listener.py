"""A listener beside another one on a port, and connections that take their time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvloop
import websockets
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.config.addresses import Frontend
from serve_app.front.listener import listener as listener_module
from serve_app.front.listener import shared_port
from serve_app.front.listener import wire as wire_module
from serve_app.front.listener.listener import Listener
from serve_app.front.listener.reader import Phase
from serve_app.front.listener.refusals import HEADER_WITHIN_S
from serve_app.front.listener.steering import HAPROXY, OURS, join, program
from serve_app.front.listener.wire import TAKEN_WITHIN_S, Wire
from serve_app.protocol.asgi import WRITE, respond
from tests.unit.serve_app.front.listener.wires import read_answers

GET = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"


class App:
    """Answers `path`, waits at `/wait` until it is let go, and writes for ever at `/flood`."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        self.began = asyncio.Event()
        self.ended = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.began.set()
        try:
            if scope["type"] == "websocket":
                await _echo(receive, send)
                return
            if scope["path"] == "/stream":
                await _stream(scope, send)
                return
            if scope["path"] == "/wait":
                await self.go.wait()
            if scope["path"] == "/flood":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                while True:
                    body = {"type": "http.response.body", "body": b"x" * 65_536, "more_body": True}
                    await send(body)
            ids = [value for name, value in scope["headers"] if name == b"x-request-id"]
            await respond(send, 200, b"".join(ids), [])
            self.ends.append("answered")
        except asyncio.CancelledError:
            self.ends.append("cancelled")
            raise
        finally:
            self.ended.set()


async def _echo(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    message = await receive()
    await send({"type": "websocket.send", "text": message["text"]})
    await send({"type": "websocket.close"})


async def _stream(scope: Scope, send: Send) -> None:
    """Write what the system's buffers do not hold."""
    write = scope["extensions"][WRITE]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(200):
        if (waits := write(b"x" * 65_536)) is not None:
            await waits
    await send({"type": "http.response.body"})


async def until(is_so: Callable[[], bool]) -> None:
    """Let the event loop go on until something is so."""
    while not is_so():  # noqa: ASYNC110
        await asyncio.sleep(0)


class Client:
    """One connection, over which bytes are sent by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        status = int((await self.reader.readline()).split()[1])
        headers = {}
        while (line := await self.reader.readline()) != b"\r\n":
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return status, headers, await self.reader.readexactly(int(headers["content-length"]))

    async def is_ended(self) -> bool:
        with contextlib.suppress(ConnectionError):
            return await self.reader.read(1) == b""
        return True


class Running:
    """A listener on a port that somebody else held first."""

    def __init__(self, listener: Listener, app: App, other: socket.socket) -> None:
        self.listener, self.app, self.other = listener, app, other
        self.clients: list[Client] = []

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_connection(*self.other.getsockname()))
        self.clients.append(client)
        return client

    async def ask(self, request: bytes = GET) -> tuple[int, dict[str, str], bytes]:
        client = await self.connect()
        client.say(request)
        return await client.answer()

    def wires(self) -> list[Wire]:
        return list(self.listener._server.server_state.connections)  # type: ignore[arg-type]

    async def has(self, connections: int) -> None:
        await until(lambda: len(self.wires()) == connections)


@contextlib.asynccontextmanager
async def running(served: ASGIApp | None = None) -> AsyncIterator[Running]:
    with contextlib.closing(join("127.0.0.1", 0)) as other:
        app = App()
        place = Frontend("127.0.0.1", other.getsockname()[1], 60)
        listener = Listener(served or app, place, name="pointsman")
        task = asyncio.create_task(listener.run())
        here = Running(listener, app, other)
        try:
            await until(lambda: listener.row() is not None and listener._server.started)
            yield here
        finally:
            app.go.set()
            for client in here.clients:
                client.writer.close()
                with contextlib.suppress(ConnectionError):
                    await client.writer.wait_closed()
            await listener.stop()
            await task


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(shared_port, "LINGER_S", 0.001)


async def test_new_connections_come_here_and_not_to_who_was_first() -> None:
    async with running() as here:
        answers = [await here.ask() for _ in range(20)]
        assert [status for status, _, _ in answers] == [200] * 20
        with pytest.raises(BlockingIOError):
            here.other.accept()


async def test_without_a_listener_the_first_one_gets_them() -> None:
    async with running() as here:
        address = here.other.getsockname()
    with contextlib.closing(join(*address)) as first, socket.create_connection(address):
        first.setblocking(True)
        first.accept()[0].close()


async def test_a_port_that_is_not_shared_stays_who_has_it() -> None:
    with contextlib.closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        place = Frontend("127.0.0.1", other.getsockname()[1], 60)
        listener = Listener(App(), place, name="pointsman")
        await listener.run()
        assert listener.row() is None
        await listener.stop()


def test_the_program_names_a_place() -> None:
    assert [program(place)[4:] for place in (HAPROXY, OURS)] == [bytes(4), b"\1\0\0\0"]


async def test_what_haproxy_answers_for_serve_is_answered() -> None:
    async with running() as here:
        status, _, body = await here.ask(b"GET /-/healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (status, body) == (200, b"success")
        _, _, routes = await here.ask(b"GET /-/routes HTTP/1.1\r\nhost: x\r\n\r\n")
        assert json.loads(routes) == {"/": "pointsman"}
        status, _, _ = await here.ask(b"GET /-/other HTTP/1.1\r\nhost: x\r\n\r\n")
        assert status == 404
        assert here.listener.row() == {
            "address": f"127.0.0.1:{here.other.getsockname()[1]}",
            "connections": len(here.wires()),
            "requests": 0,
            "served": 3,
        }


async def test_the_request_has_one_id_which_is_echoed() -> None:
    async with running() as here:
        too_long = b"x-request-id: %b\r\n" % (b"a" * 300)
        _, headers, body = await here.ask(b"GET / HTTP/1.1\r\nhost: x\r\n%b\r\n" % too_long)
        assert headers["x-request-id"] == body.decode() != "a" * 300
        _, headers, body = await here.ask(b"GET / HTTP/1.1\r\nhost: x\r\nx-request-id: a\r\n\r\n")
        assert (headers["x-request-id"], body) == ("a", b"a")


async def test_who_leaves_ends_the_request() -> None:
    async with running() as here:
        client = await here.connect()
        client.say(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
        await here.app.began.wait()
        client.writer.transport.abort()
        await here.app.ended.wait()
        assert here.app.ends == ["cancelled"]
        assert (await here.ask())[0] == 200


async def test_who_leaves_between_two_requests_ends_nothing() -> None:
    async with running() as here:
        client = await here.connect()
        client.say(GET)
        await client.answer()
        client.writer.close()
        await here.has(0)
        assert here.app.ends == ["answered"]


async def test_requests_that_come_at_once_are_answered_in_order() -> None:
    async with running() as here:
        client = await here.connect()
        lines = b"GET / HTTP/1.1\r\nhost: x\r\nx-request-id: %b\r\n\r\n"
        client.say(b"".join(lines % x for x in (b"1", b"2", b"3")))
        assert [(await client.answer())[2] for _ in range(3)] == [b"1", b"2", b"3"]


@pytest.mark.parametrize(
    "sent",
    [b"\0\1\2\r\n\r\n", b"GET / HTTP/1.1\r\nbad name: 1\r\n\r\n",
     b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
     b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"],
)  # fmt: skip
async def test_what_is_not_http_gets_an_error_in_json(sent: bytes) -> None:
    async with running() as here:
        client = await here.connect()
        client.say(sent)
        status, headers, body = await client.answer()
        assert (status, headers["connection"]) == (400, "close")
        assert json.loads(body)["error"]["code"] == "invalid_request"
        assert await client.is_ended()
        assert here.app.ends == []


async def test_a_header_without_an_end_is_refused() -> None:
    async with running() as here:
        client = await here.connect()
        client.say(b"GET / HTTP/1.1\r\nhost: x\r\n")
        for number in range(20):
            client.say(b"x-%d: " % number + b"a" * 4_000 + b"\r\n")
            await asyncio.sleep(0)
        status, _, body = await client.answer()
        assert (status, json.loads(body)["error"]["code"]) == (431, "invalid_request")


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\nho", b"G"])
async def test_half_a_header_has_its_time(sent: bytes) -> None:
    async with running() as here:
        client = await here.connect()
        client.say(sent)
        await here.has(1)
        (wire,) = here.wires()
        await until(lambda: wire._reader.phase is Phase.HEAD)
        wire.look(wire.loop.time())
        assert not wire.transport.is_closing()
        wire.look(wire.loop.time() + HEADER_WITHIN_S)
        status, _, body = await client.answer()
        assert (status, json.loads(body)["error"]["type"]) == (408, "invalid_request_error")
        assert await client.is_ended()


@pytest.mark.parametrize("sent", [b"", b"\r\n"])
async def test_who_says_nothing_is_hung_up_on_without_a_word(sent: bytes) -> None:
    async with running() as here:
        client = await here.connect()
        client.say(sent)
        await here.has(1)
        (wire,) = here.wires()
        wire.look(wire.loop.time() + HEADER_WITHIN_S)
        assert await client.is_ended()


async def test_an_empty_line_after_an_answer_holds_no_connection() -> None:
    async with running() as here:
        client = await here.connect()
        client.say(GET)
        await client.answer()
        (wire,) = here.wires()
        client.say(b"\r\n")
        await until(lambda: not wire._is_kept)
        wire.look(wire.loop.time() + HEADER_WITHIN_S)
        assert await client.is_ended()


async def test_an_answer_that_nobody_takes_is_given_up() -> None:
    async with running() as here:
        client = await here.connect()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.say(b"GET /flood HTTP/1.1\r\nhost: x\r\n\r\n")
        await here.app.began.wait()
        (wire,) = here.wires()
        await until(lambda: wire.is_full)
        now = wire.loop.time()
        wire.look(now)
        wire.look(now + TAKEN_WITHIN_S - 1)
        assert not wire.transport.is_closing()
        wire.look(now + TAKEN_WITHIN_S)
        await here.app.ended.wait()
        assert here.app.ends == ["cancelled"]


async def test_over_the_most_connections_the_next_one_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Wire, "most", 1)
    monkeypatch.setattr(wire_module, "TOLD_AT_ONCE", 1)
    async with running() as here:
        first = await here.connect()
        await here.has(1)
        status, headers, body = await here.ask()
        assert (status, json.loads(body)["error"]["code"]) == (503, "no_replica")
        assert headers["retry-after"] == "1"
        assert await (await here.connect()).is_ended()
        first.say(GET)
        assert (await first.answer())[0] == 200


async def test_at_the_end_what_is_open_is_answered() -> None:
    async with running() as here:
        client = await here.connect()
        client.say(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
        await here.app.began.wait()
        stopping: asyncio.Task[Any] = asyncio.create_task(here.listener.stop())
        await until(lambda: here.listener._server.should_exit)
        here.app.go.set()
        assert (await client.answer())[0] == 200
        assert await client.is_ended()
        await stopping


async def _stream_read_late(here: Running) -> bytes:
    """Read the stream of a connection from when its client is waited for."""
    client = await here.connect()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    client.say(b"GET /stream HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    await here.has(1)
    (wire,) = here.wires()
    await until(lambda: bool(wire._drains))
    client.writer.transport.resume_reading()  # type: ignore[attr-defined]
    return await client.reader.read()


async def test_what_is_written_waits_for_who_reads_and_comes_whole() -> None:
    async with running() as here:
        told = await _stream_read_late(here)
        assert told.count(b"10000\r\n" + b"x" * 65_536 + b"\r\n") == 200
        assert told.endswith(b"\r\n0\r\n\r\n")


async def test_a_websocket_is_uvicorns() -> None:
    async with running() as here:
        host, port = here.other.getsockname()
        async with websockets.connect(f"ws://{host}:{port}/ws") as client:
            await client.send("said")
            assert await client.recv() == "said"


def test_on_uvloop_it_is_the_same() -> None:
    """The loop of a deployment, whose transports are others."""

    async def asked() -> None:
        async with running() as here:
            client = await here.connect()
            client.say(GET + GET)
            assert [(await client.answer())[0] for _ in range(2)] == [200, 200]
            client.say(b"\0\r\n\r\n")
            assert (await client.answer())[0] == 400
            assert await client.is_ended()
            await here.has(0)
            assert (await _stream_read_late(here)).endswith(b"\r\n0\r\n\r\n")
            await here.has(0)
            here.app.ended.clear()
            here.app.ends.clear()
            leaving = await here.connect()
            leaving.say(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n" + GET)
            await here.has(1)
            await until(lambda: here.listener._server.server_state.tasks)  # type: ignore[arg-type, return-value]
            leaving.writer.transport.abort()
            await here.app.ended.wait()
            assert here.app.ends == ["cancelled"]

    uvloop.run(asked())


# -- the gateway behind it ------------------------------------------------------------------

CHAT = "/v1/chat/completions"
ASKED = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
EVENTS = [
    b'data: {"choices":[{"index":0,"delta":{"content":"%d"},"finish_reason":null}]}\n\n' % number
    for number in range(4)
]
DONE = b"data: [DONE]\n\n"


def chat(world: Any) -> bytes:
    body = json.dumps(ASKED).encode()
    key = world.keys["acme"].encode()
    head = b"POST %b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\ncontent-length: %d\r\n\r\n"
    return head % (CHAT.encode(), key, len(body)) + body


async def test_a_stream_comes_over_a_socket_as_it_does_by_asgi(world: Any, stream: Any) -> None:
    world.lanes.answers = [stream(*EVENTS, DONE) for _ in range(3)]
    by_asgi = (await world.post(CHAT, ASKED, key="acme")).content
    async with running(world.gateway) as here:
        client = await here.connect()
        client.say(chat(world) * 2)
        told = [await client.reader.readuntil(b"\r\n0\r\n\r\n") for _ in range(2)]
    for whole in told:
        ((status, headers, body),) = read_answers(whole)
        assert (status, body) == (200, by_asgi)
        assert headers[b"x-pointsman-lane"] == b"chat"


async def test_who_leaves_a_stream_frees_the_engine(world: Any, stream: Any) -> None:
    answer = stream(*EVENTS, asyncio.Event())
    world.lanes.answers = [answer]
    async with running(world.gateway) as here:
        client = await here.connect()
        client.say(chat(world))
        await client.reader.readuntil(EVENTS[-1])
        client.writer.transport.abort()
        await until(lambda: answer.is_closed and not world.in_flight)
    assert world.reserved() == 0
