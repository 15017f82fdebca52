"""The doctor asks a whole gateway over simulated engines, as it asks a deployment."""

import asyncio

import httpx
import pytest
from doctor_recordings import NONE, Recorded

from benchmarks.support.agent_card import warm
from serve_app.config.fleet import FleetConfig
from serve_app.doctor.check import Result
from serve_app.doctor.live.deployment import NoAnswer
from serve_app.doctor.live.examination import examine_live
from serve_app.metrics.expositions import label_exposition
from simulator.http.app import SimulatedEngineApp
from simulator.http.spec import EngineSpec
from simulator.model.profile import load_profile
from tests.unit.serve_app.simulated_lanes import SimulatedLanes

PROFILE = "llama-3.1-8b-fp8-rtx4090"
LANE = {"model_source": "x", "max_model_len": 4096, "engine": "simulated", "accelerator": "cpu"}
FLEET = FleetConfig.model_validate(
    {
        "name": "test",
        "lanes": {
            "chat": {**LANE, "model_id": "small", "simulated": {"profile": PROFILE}},
            "quality": {**LANE, "model_id": "large", "simulated": {"profile": PROFILE}},
        },
        "routing": {"default": "chat", "complex": "quality"},
    }
)


class WholeLanes(SimulatedLanes):
    """Engines with a prefix cache and a card's times, whose metrics are their own."""

    def __post_init__(self) -> None:
        self.engines = {
            (lane, name): SimulatedEngineApp(EngineSpec(model, 4096, warm(load_profile(PROFILE))))
            for lane, model in (("chat", "small"), ("quality", "large"))
            for name in ("r1", "r2", "r3")
        }

    async def is_ready(self, lane) -> bool:
        return True

    async def engine_metrics(self, lane) -> list[dict]:
        transport = httpx.ASGITransport(self.engines[lane, "r1"])
        async with httpx.AsyncClient(transport=transport, base_url="http://engine") as client:
            text = (await client.get("/metrics")).text
        text = label_exposition(text, {"lane": lane, "replica": "r1"})
        load = {"in_flight": 0, "waiting": 0.0, "running": 0.0, "kv_utilization": 0.1}
        return [{"replica": "r1", "text": text, **load}]


def asker(world, loop, key):
    """As the command asks: one request after the other, from outside the event loop."""

    async def request(method, path, body):
        async with world.client(key=key) as client:
            return await client.request(method, path, json=body, timeout=30)

    def ask(method, path, body):
        answer = asyncio.run_coroutine_threadsafe(request(method, path, body), loop).result(30)
        if answer.is_error:
            raise NoAnswer(f"{answer.status_code} {answer.json()['error']['code']}")
        return answer.content

    return ask


async def examined(world, folder, key="root"):
    ask = asker(world, asyncio.get_running_loop(), key)
    found = await asyncio.to_thread(
        lambda: list(examine_live(FLEET, ask, Recorded(NONE), folder / "serve.log"))
    )
    return {x.check: x for x in found}


@pytest.fixture
def whole(world):
    world.lanes = WholeLanes()
    world.use(world.lanes)
    return world


async def test_every_question_is_one_that_a_deployment_answers(whole, tmp_path):
    found = await examined(whole, tmp_path)

    assert {name for name, x in found.items() if x.result is Result.FAILURE} == set()
    assert found["metrics"].detail == "1 ingress replicas and 2 lanes"
    for lane in ("chat", "quality"):
        cache = found[f"prefix cache {lane}"]
        assert cache.result is Result.OK, cache.detail
        assert "tokens/s at batch 1, 120 tokens in" in found[f"speed {lane}"].detail


async def test_a_key_that_may_not_operate_is_told_so(whole, tmp_path):
    """`/metrics` needs an admin's."""
    found = await examined(whole, tmp_path, key="acme")

    assert found["models"].result is Result.OK
    assert found["metrics"].result is Result.FAILURE
    assert "403 admin_only" in found["metrics"].detail
