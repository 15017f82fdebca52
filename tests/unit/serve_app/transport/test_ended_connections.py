"""A connection that has ended is freed at once: the collector of cycles would pause all streams."""

import asyncio
import gc
import weakref

import pytest
import uvloop

from serve_app.config.serving import TimeoutConfig
from serve_app.transport import upstream
from serve_app.transport.connection import Connection
from serve_app.transport.upstream import Response, Upstream
from tests.pumps import TWINS, twin
from tests.unit.serve_app.transport.raw_server import CHUNKED, Server, chunk, raw_server, says


async def read_whole(response: Response) -> None:
    await response.read()


async def read_some(response: Response) -> None:
    await response.readany()


async def refuse(response: Response) -> None:
    def step(_: bytes) -> bool:
        raise ZeroDivisionError

    await response.deliver_to(step, step)


async def ended(server: Server, feed, answer, read) -> None:
    """One answer, and the end of its connection."""
    server.answers.append(answer)
    made = Upstream({}, TimeoutConfig(connect_s=1, read_s=30), feed)
    try:
        response = await made.post(server.url, "/", b"", {})
        try:
            await read(response)
        finally:
            response.close()
    except (OSError, ZeroDivisionError):
        pass
    finally:
        await made.close()


WAYS = {
    "whole": (says(CHUNKED, chunk(b"abc"), b"0\r\n\r\n"), read_whole),
    "died": (says(CHUNKED, chunk(b"abc"), then="close"), read_whole),
    "died before its head": (says(then="close"), read_whole),
    "abandoned": (says(CHUNKED, chunk(b"abc"), then="wait"), read_some),
    "no HTTP": (says(b"no HTTP\r\n\r\n", then="wait"), read_whole),
    "refused": (says(CHUNKED, chunk(b"abc"), chunk(b"de"), then="wait"), refuse),
    "never came up": (None, read_whole),
}


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_nothing_of_it_is_left_to_the_collector_of_cycles(monkeypatch, loop, way, name):
    made: list[weakref.ref] = []

    class Watched(Connection):
        def __init__(self, *given) -> None:
            super().__init__(*given)
            made.append(weakref.ref(self))

    async def run() -> None:
        async with raw_server() as server:
            if way == "never came up":
                listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
                server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
                listening.close()
                await listening.wait_closed()
            await ended(server, twin(name).Feed, *WAYS[way])
            for _ in range(8):
                await asyncio.sleep(0)

    monkeypatch.setattr(upstream, "Connection", Watched)
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(run())
            assert made or way == "never came up"
            assert not [x() for x in made if x() is not None]
    finally:
        gc.enable()
