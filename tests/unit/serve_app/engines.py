"""Simulated engines behind endpoints of their own, in this process."""

import contextlib
from collections.abc import AsyncIterator

import aiohttp

from serve_app.engine.engine_stats import engine_load
from serve_app.engine.lane_endpoint import ENGINE_ASKS
from serve_app.transport.endpoint import SECRET_HEADER, EndpointServer
from simulator.http.app import SimulatedEngineApp
from simulator.http.spec import EngineSpec
from simulator.model.profile import Profile

SECRET = "s3cret"
BLOCK = 16
"""Tokens of a block of the KV cache."""


def card(prefill_ms_per_token: float) -> Profile:
    """A card with a prefix cache, fast unless told otherwise."""
    return Profile.model_validate(
        {
            "name": "small",
            "source": "for tests",
            "timing": {
                "decode_step_ms": {1: 0.1},
                "prefill_ms_per_token": prefill_ms_per_token,
            },
            "scheduling": {"max_num_seqs": 8, "num_gpu_blocks": 1000, "block_size": BLOCK},
            "mean_output_tokens": 4,
        }
    )


class Engine:
    """One engine and a session with its endpoint."""

    def __init__(self, model_id: str, prefill_ms_per_token: float) -> None:
        spec = EngineSpec(model_id, 8192, card(prefill_ms_per_token))
        self.model_id = model_id
        self.endpoint = EndpointServer(
            SimulatedEngineApp(spec), secret=SECRET, host="127.0.0.1", listed=ENGINE_ASKS
        )
        self.http: aiohttp.ClientSession

    async def load(self) -> dict[str, float]:
        """Its own counters."""
        async with self.http.get("/metrics") as response:
            return engine_load(await response.text())

    async def post(self, path: str, body) -> int:
        async with self.http.post(path, json=body) as response:
            await response.read()
            return response.status

    async def cached(self, path: str, body) -> int:
        """Prompt tokens of one request that it found in its cache, by its own counters."""
        before = (await self.load())["prefix_cache_hits"]
        assert await self.post(path, body) == 200
        return int((await self.load())["prefix_cache_hits"] - before)


@contextlib.asynccontextmanager
async def running(
    model_id: str = "small", prefill_ms_per_token: float = 0.001
) -> AsyncIterator[Engine]:
    """A started engine."""
    engine = Engine(model_id, prefill_ms_per_token)
    await engine.endpoint.start()
    headers = {SECRET_HEADER.decode(): SECRET}
    async with aiohttp.ClientSession(engine.endpoint.url, headers=headers) as engine.http:
        yield engine
    await engine.endpoint.stop()
