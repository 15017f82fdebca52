"""Requests for lanes that share a card, from the gateway to simulated engines."""

import asyncio
import json

from benchmarks.support.one_process import SECRET
from serve_app.tenancy.local_key import local_admin_key
from tests.unit.serve_app.swap.conftest import FLEET

ADMIN = {"x-api-key": local_admin_key(SECRET)}


def body(model, **more):
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5} | more


async def ask(client, model, **more):
    return await client.post("/v1/chat/completions", json=body(model, **more))


def samples(text, name):
    return [float(x.rsplit(" ", 1)[1]) for x in text.splitlines() if x.startswith(name + "{")]


async def test_a_request_wakes_its_lane_is_told_so_and_everybody_can_see_it(pooled):
    async with pooled() as client:
        own = await ask(client, "own")
        first = await ask(client, "chat")
        second = await ask(client, "coder")
        again = await ask(client, "coder")
        lanes = (await client.get("/status", headers=ADMIN)).json()["lanes"]
        text = (await client.get("/metrics", headers=ADMIN)).text

    assert [x.status_code for x in (own, first, second, again)] == [200] * 4, second.text
    assert own.headers["x-pointsman-reason"] == "pinned"
    assert second.headers["x-pointsman-reason"] == "waking"
    assert second.headers["x-pointsman-routed"] == "pinned"
    assert again.headers["x-pointsman-reason"] == "pinned"
    assert "x-pointsman-routed" not in again.headers
    assert "sleep" not in lanes["own"]
    assert lanes["coder"]["sleep"]["awake"] is True
    assert lanes["chat"]["sleep"] == lanes["chat"]["sleep"] | {"awake": False, "pool": "pool-a"}
    assert lanes["coder"]["replicas"][0]["phase"] == "awake"
    assert sorted(samples(text, "pointsman_lane_awake")) == [0.0, 1.0]
    assert sum(samples(text, "pointsman_lane_wake_seconds_count")) >= 2


async def test_alternating_requests_are_collated_and_no_stream_is_broken_by_a_swap(pooled):
    async with pooled() as client:
        await ask(client, "chat")
        usage = {"stream": True, "stream_options": {"include_usage": True}}
        long = asyncio.create_task(ask(client, "chat", max_tokens=400, **usage))
        await asyncio.sleep(0.1)
        answers = await asyncio.gather(*(ask(client, x) for x in ["chat", "coder"] * 10))
        stream = await long
        text = (await client.get("/metrics", headers=ADMIN)).text

    assert {x.status_code for x in answers} == {200}
    # Each lane loaded once, chat woken for the first request, and two swaps at most.
    assert sum(samples(text, "pointsman_swaps_total")) <= 5
    assert stream.text.rstrip().endswith("data: [DONE]")
    assert '"completion_tokens":400' in stream.text


async def test_a_stream_hears_that_its_lane_wakes_and_a_late_request_is_refused(pooled):
    slow = FLEET.replace("load_s: 0.1", "load_s: 4").replace(
        "wait_bound_s: 20", "wait_bound_s: 2.5"
    )
    async with pooled(slow) as client:
        stream, whole = await asyncio.gather(ask(client, "coder", stream=True), ask(client, "chat"))

    assert stream.headers["x-pointsman-reason"] == "waking"
    assert stream.text.startswith(": waking\n\n")
    told = json.loads(stream.text.rsplit("data: ", 1)[1])["error"]
    assert (told["code"], told["retry_after"] >= 1) == ("deadline_exceeded", True)
    assert whole.status_code == 504
    assert int(whole.headers["retry-after"]) >= 1
    assert "Lane 'chat' sleeps" in whole.json()["error"]["message"]
