"""What a client sends and is told, byte for byte.

Stands between a client's sandbox and the server under test: it passes every byte on unchanged
and keeps a copy, which is read as HTTP afterwards. Where somebody watches what comes back, each
request asks for the server's debug headers, which say who answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httptools
import pyarrow as pa

See = Callable[[bytes], bytes | None]
"""Is shown a piece that passes; may return another in its place."""


@dataclass(slots=True)
class Exchange:
    """One request and its answer."""

    method: str = ""
    target: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    status: int = 0
    answer_headers: dict[str, str] = field(default_factory=dict)
    answer: bytes = b""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def json(self) -> dict[str, Any]:
        """The request's body; {} where it is no JSON object."""
        raw = decoded(self.body, self.headers.get("content-encoding", ""))
        try:
            found = json.loads(raw)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def decoded(body: bytes, encoding: str) -> bytes:
    if encoding == "gzip":
        return gzip.decompress(body)
    if encoding == "zstd":
        with pa.CompressedInputStream(pa.BufferReader(body), "zstd") as stream:
            return bytes(stream.read())
    return body


class _Side:
    """Callbacks of httptools that collect the messages of one direction."""

    def __init__(self) -> None:
        self.messages: list[tuple[int, str, str, dict[str, str], bytes]] = []
        self.parser: Any = None
        self._begin()

    def _begin(self) -> None:
        self.target, self.headers, self.body = "", {}, b""
        self.is_open = False

    def on_message_begin(self) -> None:
        self._begin()

    def on_url(self, url: bytes) -> None:
        self.target += url.decode()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode().lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.is_open = True

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.messages.append(self._message())
        self.is_open = False

    def all(self) -> list[tuple[int, str, str, dict[str, str], bytes]]:
        """The messages; of the last one what is there: clients leave behind `[DONE]`."""
        return [*self.messages, self._message()] if self.is_open else self.messages

    def _message(self) -> tuple[int, str, str, dict[str, str], bytes]:
        is_answer = isinstance(self.parser, httptools.HttpResponseParser)
        status = self.parser.get_status_code() if is_answer else 0
        method = "" if is_answer else self.parser.get_method().decode()
        return status, method, self.target, self.headers, self.body


def _read(parser_class: Any, data: bytes) -> list[tuple[int, str, str, dict[str, str], bytes]]:
    side = _Side()
    side.parser = parser_class(side)
    # An upgraded connection is no HTTP from there on.
    with contextlib.suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
        side.parser.feed_data(data)
    return side.all()


def _answers(methods: list[str], told: bytes) -> list[tuple[int, str, str, dict[str, str], bytes]]:
    """The answers on one connection. Those to HEAD, which come first, have no body."""
    heads = []
    while methods[len(heads) : len(heads) + 1] == ["HEAD"] and b"\r\n\r\n" in told:
        head, _, told = told.partition(b"\r\n\r\n")
        heads.append((int(head.split()[1]), "", "", {}, b""))
    return [*heads, *_read(httptools.HttpResponseParser, told)]


class Recorder:
    """A Unix socket that leads to a server; keeps what passes.

    Args:
        path: the socket.
        port: of the server, at 127.0.0.1.
        watch: called for each connection, for what is called with each piece that comes back.

    """

    def __init__(
        self,
        path: Path,
        port: int,
        watch: Callable[[], Callable[[bytes], bytes | None]] | None = None,
    ) -> None:
        self._path, self._port, self._watch = path, port, watch
        self._connections: list[tuple[bytearray, bytearray]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def exchanges(self) -> list[Exchange]:
        """All that was asked so far, connection by connection; an answer may be missing."""
        found = []
        for sent, told in self._connections:
            requests = _read(httptools.HttpRequestParser, bytes(sent))
            answers = _answers([method for _, method, *_ in requests], bytes(told))
            for number, asked in enumerate(requests):
                _, method, target, headers, body = asked
                made = Exchange(method, target, headers, body)
                if number < len(answers):
                    made.status, _, _, made.answer_headers, made.answer = answers[number]
                found.append(made)
        return found

    async def _start(self) -> None:
        self._server = await asyncio.start_unix_server(self._accept, str(self._path))

    async def _stop(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent, told = bytearray(), bytearray()
        self._connections.append((sent, told))
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.close()
            return
        try:
            watch = None if self._watch is None else self._watch()
            # Cancelled at the end of a run; asyncio's own callback would log that as a fault.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(
                    _copy(reader, inner_writer, sent, None if watch is None else _asking),
                    _copy(inner_reader, writer, told, watch),
                )
        finally:
            inner_writer.close()
            writer.close()


_REQUEST = re.compile(rb"[A-Z]{3,7} /\S* HTTP/1\.1\r\n")


def _asking(data: bytes) -> bytes:
    """A request's beginning, which asks for debug headers; clients write it in one piece."""
    line = _REQUEST.match(data)
    return data if line is None else line[0] + b"x-pointsman-debug: 1\r\n" + data[line.end() :]


async def _copy(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    kept: bytearray,
    see: See | None,
) -> None:
    try:
        while data := await reader.read(65536):
            data = (see(data) if see is not None else None) or data
            kept.extend(data)
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()
