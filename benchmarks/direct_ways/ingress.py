"""The process that decides: a relay, one that hands sockets over, or who answers a Lua action.

It listens as ingress replicas do (`serve_app/front/listener/wire`), or, where it hands sockets
over, by uvicorn's protocol, whose connections can be taken apart; it talks to lanes as replicas do
(`serve_app/transport/upstream`). Its decision is the first lane that lives.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from typing import Any

import orjson
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from benchmarks.direct_ways import handover
from benchmarks.direct_ways.handover import Journal, Task
from benchmarks.direct_ways.lane import CHAT, read_body, respond
from benchmarks.direct_ways.lane_link import Handed, LaneDied, LaneLink
from benchmarks.direct_ways.stream_work import stream
from serve_app.config.serving import TimeoutConfig
from serve_app.front.listener.wire import Wire
from serve_app.relay.forwarder import SuspendedSend
from serve_app.transport.endpoint import SECRET_HEADER
from serve_app.transport.upstream import Response, Upstream

LOOK_EVERY_S = 0.25
"""Between two looks at the journals of open streams: counts, ceilings, transcripts."""

MAX_EVENT_BYTES = 512
_REQUEST = (
    b"POST " + CHAT.encode() + b" HTTP/1.1\r\nhost: lane\r\n%b: %b\r\ncontent-length: %d\r\n\r\n%b"
)
_MARKS = b"x-pointsman-lane: %d\r\nx-request-id: %b\r\n"


class Ingress:
    """An ASGI application. `counted` are tokens, by what was relayed or stands in journals."""

    def __init__(self, mode: str, lanes: list[tuple[int, str]], secret: str) -> None:
        self._hands_over = mode == "hand_over"
        self._journal = Journal.made()
        self.lanes = [LaneLink(n, *lane, self._journal) for n, lane in enumerate(lanes)]
        self._upstream = Upstream({SECRET_HEADER.decode(): secret}, TimeoutConfig())
        self._secret = secret.encode()
        self.counted = self.resumed = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await _echo(receive, send)
        elif scope["method"] == "GET":
            told = {"counted": self.counted, "resumed": self.resumed}
            await respond(send, orjson.dumps(told))
        else:
            body = await read_body(receive)
            if not (self._hands_over and await self._hand_over(send, body)):
                await self._relay(send, body, orjson.loads(body))

    def choose(self) -> LaneLink:
        return next(lane for lane in self.lanes if lane.is_alive)

    # -- relayed ---------------------------------------------------------------------------

    async def _relay(
        self, send: Send, body: bytes, asked: dict[str, Any], *, goes_on: bool = False
    ) -> None:
        """Pass an answer on. `goes_on`: behind a head and events that the client has."""
        lane = self.choose()
        headers = {"content-type": "application/json"}
        try:
            response = await self._upstream.post(lane.url, CHAT, body, headers)
        except OSError:
            lane.is_alive = False
            await self._relay(send, body, asked, goes_on=goes_on)
            return
        try:
            if not goes_on:
                head = [(b"content-type", response.content_type.encode()), *_marks(lane.number)]
                if "content-length" in response.headers:
                    head.append((b"content-length", response.headers["content-length"].encode()))
                await send({"type": "http.response.start", "status": 200, "headers": head})
            if asked.get("stream"):
                await self._pass_on(response, send)
                await send({"type": "http.response.body", "body": b""})
            else:
                await send({"type": "http.response.body", "body": await response.read()})
        finally:
            response.close()

    async def _pass_on(self, response: Response, send: Send) -> None:
        suspended: list[SuspendedSend] = []
        work = stream()

        def step(chunk: bytes) -> bool:
            before = work.tokens
            out = work.feed(chunk)
            self.counted += work.tokens - before
            if not out:
                return True
            message = {"type": "http.response.body", "body": out, "more_body": True}
            sending = send(message).__await__()
            try:
                waits_for = next(sending)
            except StopIteration:
                return True
            suspended.append(SuspendedSend(waits_for, sending))
            return False

        while await response.deliver_to(step):
            await suspended.pop()

    # -- handed over -----------------------------------------------------------------------

    async def _hand_over(self, send: Send, body: bytes) -> bool:
        """Have the lane's process answer on the client's socket; False: relay it instead."""
        cycle: Any = send.__self__  # type: ignore[attr-defined]
        asked = orjson.loads(body)
        lane, transport = self.choose(), cycle.transport
        fits = asked["max_tokens"] * MAX_EVENT_BYTES < handover.ROOM_BYTES
        if not fits or len(body) > handover.MAX_MESSAGE // 2 or transport.get_write_buffer_size():
            return False
        slot = self._journal.take()
        if slot is None:
            return False
        client = transport.get_extra_info("socket")
        handed = Handed(asyncio.get_running_loop().create_future(), asked.get("rate", 0.0))
        try:
            cycle.flow.pause_reading()
            base = handover.written_bytes(client)
            request = _REQUEST % (SECRET_HEADER, self._secret, len(body), body)
            lane.handed[slot] = handed
            head = _MARKS % (lane.number, dict(cycle.scope["headers"]).get(b"x-request-id", b"-"))
            if not lane.send(Task(slot, head, request), client.fileno()):
                cycle.flow.resume_reading()
                return False
            try:
                how, unread = await handed.done
            except LaneDied:
                await self._go_on(cycle, slot, handed, base, asked)
                return True
            self._look_at(slot, handed)
            _end(cycle, how, unread)
            return True
        finally:
            lane.handed.pop(slot, None)
            self._journal.give_back(slot)

    async def _go_on(
        self, cycle: Any, slot: int, handed: Handed, base: int, asked: dict[str, Any]
    ) -> None:
        """Take a stream over whose lane died: what it had begun to write, then the rest."""
        client, room = cycle.transport.get_extra_info("socket"), self._journal.room(slot)
        appended = self._journal.appended(slot)
        self._look_at(slot, handed)
        told = bytes(room[:appended])
        unsent = told[handover.written_bytes(client) - base :]
        cycle.flow.resume_reading()
        self.resumed += 1
        if unsent:
            cycle.transport.write(unsent)
        if not told:
            await self._relay(cycle.send, orjson.dumps(asked), asked)
        elif told.endswith(b"0\r\n\r\n"):
            _end(cycle, handover.STAYS, b"")
        else:
            cycle.response_started = cycle.chunked_encoding = True
            rest = orjson.dumps(asked | {"from": handed.events})
            await self._relay(cycle.send, rest, asked, goes_on=True)

    def _look_at(self, slot: int, handed: Handed) -> None:
        """Count what a journal has gained; under a ceiling, say until when it has to wait."""
        appended = self._journal.appended(slot)
        if appended == handed.read:
            return
        new = bytes(self._journal.room(slot)[handed.read : appended])
        handed.read = appended
        tokens = _tokens(new)
        handed.events += tokens
        self.counted += tokens
        handed.transcript.append(new)
        if handed.rate:
            due = handed.begun + handed.events / handed.rate
            at = self._journal.word_at(slot, handover.HELD_UNTIL)
            self._journal.words[at] = int(due * 1e9)

    async def look(self) -> None:
        """Look at every stream that is handed over, for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            for lane in self.lanes:
                for slot, handed in lane.handed.items():
                    self._look_at(slot, handed)


def _end(cycle: Any, how: int, unread: bytes) -> None:
    """Make uvicorn's connection ready for the next request, or end it."""
    cycle.response_started = cycle.response_complete = True
    connection = cycle.on_response.__self__
    if how == handover.GONE or not cycle.keep_alive:
        cycle.transport.close()
        return
    cycle.on_response()
    if unread:
        connection.data_received(unread)


def _tokens(data: bytes) -> int:
    return data.count(b"\n\n") - data.count(b"data: [DONE]")


def _marks(lane: int) -> list[tuple[bytes, bytes]]:
    return [(b"x-pointsman-lane", b"%d" % lane)]


async def _echo(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


class Decider(asyncio.Protocol):
    """Answers a Lua action with the address of a lane: one request a connection, as it asks."""

    def __init__(self, ingress: Ingress) -> None:
        self._ingress, self._got, self._needs = ingress, b"", -1

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, found, body = self._got.partition(b"\r\n\r\n")
        if self._needs < 0 and found:
            self._needs = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        if found and len(body) >= self._needs:
            orjson.loads(body)
            address = self._ingress.choose().url.removeprefix("http://")
            self._transport.write(b"HTTP/1.0 200 OK\r\n\r\n" + address.encode())
            self._transport.close()


async def _run(args: argparse.Namespace) -> None:
    lanes = [(int(port), path) for port, path in (lane.split("=") for lane in args.lane)]
    ingress = Ingress(args.mode, lanes, args.secret)
    options: dict[str, Any] = {"log_level": "error", "lifespan": "off", "loop": "none"}
    http = HttpToolsProtocol if args.mode == "hand_over" else Wire
    config = uvicorn.Config(
        ingress, port=args.port, http=http, access_log=False, timeout_keep_alive=90, **options
    )
    if args.decide:
        loop = asyncio.get_running_loop()
        await loop.create_server(lambda: Decider(ingress), "127.0.0.1", args.decide)
    looking = asyncio.ensure_future(ingress.look())
    await uvicorn.Server(config).serve()
    looking.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=("relay", "hand_over"), default="relay")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--decide", type=int, help="port for a Lua action's questions")
    parser.add_argument("--lane", action="append", required=True, help="PORT=PATH")
    parser.add_argument("--secret", required=True)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
