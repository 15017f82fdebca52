"""A server that says byte for byte what a test wants."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

OK = b"HTTP/1.1 200 OK\r\ncontent-type: Text/Event-Stream; charset=utf-8\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


@contextlib.contextmanager
def writer_of(writer):
    """Closed however the connection ends."""
    try:
        yield
    finally:
        writer.close()


class Server:
    """Answers each request with the next of `answers`: a coroutine over the writer."""

    def __init__(self) -> None:
        self.answers: list[Callable] = []
        self.requests: list[bytes] = []
        self.connections = 0
        self.lost = asyncio.Event()
        self.tasks: list[asyncio.Task] = []
        self.url = ""

    async def serve(self, reader, writer) -> None:
        self.connections += 1
        self.tasks.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError), writer_of(writer):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                if await self.answers.pop(0)(writer) == "close":
                    break
                await writer.drain()
        self.lost.set()


@contextlib.asynccontextmanager
async def raw_server() -> AsyncIterator[Server]:
    """A server on a port of its own."""
    made = Server()
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    yield made
    listening.close()
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)


def says(*parts: bytes, then: str = ""):
    async def answer(writer) -> str:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        if then == "wait":
            await asyncio.sleep(60)
        return then

    return answer


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)
