"""vLLM's sleep mode around a simulated engine."""

import asyncio

import httpx

from simulator.http.app import SimulatedEngineApp
from simulator.http.sleep import SleepingEngineApp
from simulator.http.spec import EngineSpec
from simulator.model.profile import FixedTiming, SleepCosts

COSTS = SleepCosts(sleep_s=0.01, wake_s=0.01, reload_s=0.02)
BODY = {"model": "m", "prompt": "hi", "max_tokens": 3}


def client(itl_s=0.0):
    spec = EngineSpec("m", 1000, FixedTiming(ttft_s=0, itl_s=itl_s))
    app = SleepingEngineApp(SimulatedEngineApp(spec), COSTS)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://engine")


async def is_sleeping(http):
    return (await http.get("/is_sleeping")).json()["is_sleeping"]


async def test_it_sleeps_and_wakes_as_vllm_does():
    async with client() as http:
        assert not await is_sleeping(http)
        await http.post("/sleep?level=1")
        assert await is_sleeping(http)
        assert (await http.get("/metrics")).status_code == 200
        waiting = asyncio.create_task(http.post("/v1/completions", json=BODY))
        await asyncio.sleep(0.02)
        assert not waiting.done()
        await http.post("/wake_up")
        assert (await waiting).status_code == 200
        assert not await is_sleeping(http)


async def test_waking_from_level_two_reads_the_weights_again():
    async with client() as http:
        loop = asyncio.get_running_loop()
        await http.post("/sleep?level=2")
        begun = loop.time()
        await http.post("/wake_up")
        assert loop.time() - begun >= COSTS.wake_s + COSTS.reload_s - 0.001
        await http.post("/wake_up")


async def test_what_is_open_ends_before_it_sleeps():
    async with client(itl_s=0.02) as http:
        open_one = asyncio.create_task(http.post("/v1/completions", json=BODY))
        await asyncio.sleep(0.02)
        await http.post("/sleep")
        assert open_one.done() or (await open_one).status_code == 200
        assert await is_sleeping(http)
