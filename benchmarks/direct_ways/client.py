"""A client on bare sockets, which knows what the answer has to be."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any

import orjson

from benchmarks.direct_ways.lane import CHAT

_NUMBER = re.compile(rb'"content":" (\d+)"')
PROMPT = "Please summarize our refund policy for an enterprise customer. " * 8


@dataclass
class Answer:
    """What came. `is_whole`: every word once and in order, and the end of the answer."""

    status: int = 0
    ttft_s: float = 0.0
    took_s: float = 0.0
    tokens: int = 0
    is_whole: bool = False


class Client:
    """One keep-alive connection."""

    def __init__(self, port: int, secret: str) -> None:
        self._port, self._secret = port, secret
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._resumes: asyncio.Event | None = None
        self.connections = 0

    async def ask(self, tokens: int, *, stream: bool = True, leave_after: int = 0) -> Answer:
        """Ask once. `leave_after`: reset the connection after so many tokens."""
        body: dict[str, Any] = {"model": "m", "stream": stream, "max_tokens": tokens}
        body["messages"] = [{"role": "user", "content": PROMPT}]
        return await self.send(body, leave_after)

    async def pause_before(self, event: asyncio.Event) -> None:
        """Connect, and read nothing until `event`: little of an answer fits into the kernel."""
        opened = socket.socket()
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        opened.setblocking(False)
        await asyncio.get_running_loop().sock_connect(opened, ("127.0.0.1", self._port))
        self._reader, self._writer = await asyncio.open_connection(sock=opened)
        self._resumes = event

    async def send(self, body: dict[str, Any], leave_after: int = 0) -> Answer:
        answer, begun = Answer(), time.perf_counter()
        try:
            async with asyncio.timeout(60):
                await self._exchange(orjson.dumps(body), answer, begun, leave_after)
        except (OSError, EOFError, TimeoutError, ValueError):
            self.close()
        answer.took_s = time.perf_counter() - begun
        return answer

    async def _exchange(self, body: bytes, answer: Answer, begun: float, leave_after: int) -> None:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
            self.connections += 1
        assert self._reader is not None
        self._writer.write(
            f"POST {CHAT} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
            f"x-pointsman-endpoint: {self._secret}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        if self._resumes is not None:
            self._writer.transport.pause_reading()  # type: ignore[attr-defined]
            await self._resumes.wait()
            self._writer.transport.resume_reading()  # type: ignore[attr-defined]
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        answer.status = int(head[9:12])
        if b"content-length: " in head:
            length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
            got = await self._reader.readexactly(length)
            answer.ttft_s = time.perf_counter() - begun
            answer.is_whole = answer.status == 200 and b"choices" in got
        else:
            await self._read_stream(answer, begun, leave_after)
        if b"connection: close" in head:
            self.close()

    async def _read_stream(self, answer: Answer, begun: float, leave_after: int) -> None:
        assert self._reader is not None
        is_in_order, last = True, b""
        while size := int(await self._reader.readline(), 16):
            last = (await self._reader.readexactly(size + 2))[:-2]
            answer.ttft_s = answer.ttft_s or time.perf_counter() - begun
            for number in _NUMBER.findall(last):
                is_in_order = is_in_order and int(number) == answer.tokens
                answer.tokens += 1
            if leave_after and answer.tokens >= leave_after:
                self.reset()
                return
        await self._reader.readexactly(2)
        answer.is_whole = is_in_order and last.endswith(b"data: [DONE]\n\n")

    def reset(self) -> None:
        """Leave without a word: the connection is reset."""
        if self._writer is not None:
            held: socket.socket = self._writer.get_extra_info("socket")
            held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


async def load(port: int, secret: str, streams: int, each: int, tokens: int) -> list[Answer]:
    """`each` streamed requests on each of `streams` connections, not in lockstep."""

    async def one(number: int) -> list[Answer]:
        client = Client(port, secret)
        await asyncio.sleep(number / streams)
        answers = [await client.ask(tokens) for _ in range(each)]
        client.close()
        return answers

    return [a for part in await asyncio.gather(*map(one, range(streams))) for a in part]


async def whole_answers(port: int, secret: str, clients: int, each: int) -> int:
    """Requests that are not streamed, of two tokens; returns how many failed."""

    async def one() -> int:
        client = Client(port, secret)
        failed = 0
        for _ in range(each):
            failed += not (await client.ask(2, stream=False)).is_whole
        client.close()
        return failed

    return sum(await asyncio.gather(*(one() for _ in range(clients))))


async def get(port: int, path: str, secret: str) -> dict[str, Any]:
    """Ask one process for its counts."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.closing(writer):
        writer.write(
            f"GET {path} HTTP/1.0\r\nhost: a\r\nx-pointsman-endpoint: {secret}\r\n\r\n".encode()
        )
        got = await reader.read()
    told: dict[str, Any] = orjson.loads(got.partition(b"\r\n\r\n")[2])
    return told
