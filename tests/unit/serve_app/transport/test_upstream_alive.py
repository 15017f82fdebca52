"""Asking an endpoint whether its engine lives."""

import asyncio
import contextlib
from http import HTTPStatus

import pytest

from serve_app.config.serving import TimeoutConfig
from serve_app.engine.lane_endpoint import ENGINE_ASKS
from serve_app.placement.lanes import Lanes, Replica
from serve_app.transport.endpoint import EndpointServer
from simulator.http.app import SimulatedEngineApp
from simulator.http.spec import EngineSpec
from simulator.model.profile import FixedTiming
from tests.unit.serve_app.transport.raw_server import writer_of

SECRET = "s3"


@contextlib.asynccontextmanager
async def answers(status: int, wait_s: float = 0.0):
    """A replica whose endpoint answers everything so."""
    tasks = []

    async def serve(reader, writer) -> None:
        tasks.append(asyncio.current_task())
        with writer_of(writer):
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(wait_s)
            phrase = HTTPStatus(status).phrase
            writer.write(f"HTTP/1.1 {status} {phrase}\r\ncontent-length: 0\r\n\r\n".encode())

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    yield Replica("r1", f"http://{host}:{port}")
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def lanes():
    made = Lanes({}, SECRET, TimeoutConfig(probe_s=0.2), {})
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("status", "wait_s", "lives"), [(200, 0, True), (404, 0, True), (503, 0, False), (200, 9, None)]
)
async def test_an_engine_lives_if_its_endpoint_says_so_in_time(lanes, status, wait_s, lives):
    """vLLM's says 503 of an engine core that has died."""
    async with answers(status, wait_s) as replica:
        assert await lanes.is_alive(replica) is lives


async def test_where_nothing_listens_nothing_is_said(lanes):
    async with answers(200) as replica:
        pass

    assert await lanes.is_alive(replica) is None


async def test_the_question_is_no_request_that_a_drain_waits_for(lanes):
    """It has the deployment's secret, and is not counted."""
    app = SimulatedEngineApp(EngineSpec("small", 4096, FixedTiming(ttft_s=0, itl_s=0)))
    endpoint = EndpointServer(app, secret=SECRET, host="127.0.0.1", listed=ENGINE_ASKS)
    await endpoint.start()

    assert await lanes.is_alive(Replica("r1", endpoint.url)) is True

    assert endpoint.guard.served_total == 0
    await endpoint.stop()
