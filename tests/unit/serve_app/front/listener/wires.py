"""A connection without a socket: what a client says, what it is told, and what was asked for."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from serve_app.front.listener.wire import Wire
from serve_app.protocol.asgi import extension_of, respond

TURNS = 12
"""Of the event loop, in which everything here is done that waits for nothing else."""


class FakeTransport(asyncio.Transport):
    """Keeps what is written. `holds`: the client does not read."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.told = bytearray()
        self.writes = 0
        self.is_closed = self.is_paused = self.is_ended = self.holds = False

    def write(self, data: bytes) -> None:  # type: ignore[override]
        assert not self.is_ended
        self.told += data
        self.writes += 1
        if self.holds:
            self.protocol.pause_writing()

    def take_all(self) -> None:
        self.holds = False
        self.protocol.resume_writing()

    def get_write_buffer_size(self) -> int:
        return len(self.told) if self.holds else 0

    def write_eof(self) -> None:
        self.is_ended = True

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            asyncio.get_running_loop().call_soon(self._lose)

    def _lose(self) -> None:
        # As loops do: the two know each other no longer.
        protocol, self.protocol = self.protocol, asyncio.Protocol()
        protocol.connection_lost(None)

    abort = close

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol  # type: ignore[assignment]

    def pause_reading(self) -> None:
        assert not self.is_paused
        self.is_paused = True

    def resume_reading(self) -> None:
        assert self.is_paused
        self.is_paused = False


class Echo:
    """Answers what was asked.

    `/wait`: when it may; `/chunks`, `/write`: in pieces; `/early`: before the body.

    Attributes:
        asked: scopes and bodies of what was read whole.
        begun: requests that came here.
        ends: how each ended.

    """

    def __init__(self) -> None:
        self.asked: list[tuple[Scope, bytes]] = []
        self.begun = 0
        self.ends: list[str] = []
        self.go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun += 1
        try:
            await self._answer(scope, receive, send)
            self.ends.append("answered")
        except asyncio.CancelledError:
            self.ends.append("cancelled")
            raise
        except OSError:
            self.ends.append("gone")

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        body = b"" if path.startswith("/early") else await whole(receive)
        self.asked.append((scope, body))
        if path.startswith("/wait"):
            await self.go.wait()
        out = orjson.dumps([scope["method"], scope["http_version"], path, body.decode("latin-1")])
        if not path.startswith(("/chunks", "/write")):
            await respond(send, 200, out, [(b"X-App", b"echo")])
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        write = extension_of(scope) if path.startswith("/write") else None
        for part in (out[:5], b"", out[5:]):
            if write is None:
                await send({"type": "http.response.body", "body": part, "more_body": True})
            elif (waits := write(part)) is not None:
                await waits
        await send({"type": "http.response.body", "body": b"."})


async def whole(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise OSError("the client has left")
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


class Conversation:
    """A client's side of one connection."""

    def __init__(self, app: ASGIApp, protocol: type[Any] = Wire, **config: Any) -> None:
        made = uvicorn.Config(
            app, lifespan="off", access_log=False, log_config=None, proxy_headers=False, **config
        )
        made.load()
        self.state = ServerState()
        self.wire = protocol(made, self.state, {})
        self.transport = FakeTransport(self.wire)
        self.wire.connection_made(self.transport)

    async def say(self, *parts: bytes) -> None:
        """Send in pieces, of which each is read before the next."""
        for part in parts:
            if not self.transport.is_closed:
                self.transport.protocol.data_received(part)
            await turns(2)
        await turns()

    @property
    def told(self) -> bytes:
        return bytes(self.transport.told)

    @property
    def answers(self) -> list[tuple[int, dict[bytes, bytes], bytes]]:
        return read_answers(self.told)

    @property
    def statuses(self) -> list[int]:
        return [status for status, _, _ in self.answers]

    async def leave(self) -> None:
        self.transport.close()
        await turns()


async def turns(number: int = TURNS) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def read_answers(told: bytes) -> list[tuple[int, dict[bytes, bytes], bytes]]:
    """Read whole answers with a length or in chunks, to GET and POST; raise on anything else."""
    answers = []
    while told:
        head, end, told = told.partition(b"\r\n\r\n")
        assert end, head
        first, *lines = head.split(b"\r\n")
        version, status = first.split(b" ", 2)[:2]
        assert version == b"HTTP/1.1"
        headers = {name: value for name, _, value in (line.partition(b": ") for line in lines)}
        assert len(headers) == len(lines)
        if status == b"100":
            body = b""
        elif b"content-length" in headers:
            length = int(headers[b"content-length"])
            body, told = told[:length], told[length:]
            assert len(body) == length
        elif headers.get(b"transfer-encoding") == b"chunked":
            body, told = _chunks(told)
        else:
            assert headers[b"connection"] == b"close"
            body, told = told, b""
        answers.append((int(status), headers, body))
    return answers


def _chunks(told: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, end, told = told.partition(b"\r\n")
        size = int(line, 16)
        assert end
        assert told[size : size + 2] == b"\r\n"
        body, told = body + told[:size], told[size + 2 :]
        if not size:
            return body, told
