"""A replica that embeds or scores takes traffic once it has done that."""

import contextlib

import aiohttp
import pytest

from router.types import Task
from serve_app.config.serving import WarmUpConfig
from serve_app.engine.embedded_model import resolve_source
from serve_app.engine.lane_endpoint import ENGINE_ASKS
from serve_app.engine.warm_up import dummy_inputs, warm_up
from serve_app.transport.endpoint import SECRET_HEADER, EndpointServer
from simulator.http.app import SimulatedEngineApp
from simulator.http.spec import EngineSpec
from tests.unit.serve_app.engines import SECRET, card


@contextlib.asynccontextmanager
async def encoder(*, is_pooling=True):
    """A simulated engine behind an endpoint, and a session with that."""
    app = SimulatedEngineApp(EngineSpec("minilm", 64, card(0.001), is_pooling=is_pooling))
    endpoint = EndpointServer(app, secret=SECRET, host="127.0.0.1", listed=ENGINE_ASKS)
    await endpoint.start()
    headers = {SECRET_HEADER.decode(): SECRET}
    async with aiohttp.ClientSession(endpoint.url, headers=headers) as http:
        yield http
    await endpoint.stop()


@pytest.mark.parametrize("task", [Task.EMBED, Task.SCORE])
async def test_it_does_its_task_once_and_is_asked_for_no_chat(task):
    async with encoder() as http:
        await warm_up(http, "app", "embed", "minilm", WarmUpConfig(), task)

        async with http.get("/metrics") as response:
            text = await response.text()
    assert 'vllm:request_success_total{engine="simulated",finished_reason="stop"' in text


@pytest.mark.parametrize("task", [Task.EMBED, Task.SCORE])
async def test_one_that_cannot_is_no_good(task):
    """A model that generates, under a lane that says it embeds."""
    async with encoder(is_pooling=False) as http:
        with pytest.raises(RuntimeError, match="404"):
            await dummy_inputs(http, "minilm", task)


def test_the_embedded_encoder_is_read_where_its_package_is():
    from pathlib import Path

    assert (Path(resolve_source("embedded://all-minilm-l6-v2")) / "config.json").is_file()
