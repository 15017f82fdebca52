"""Tokens per second that bind only in a busy lane, and requests at once, at the gateway."""

import asyncio
import json

import pytest

from router.admission.kv_budget import KvAsk
from router.admission.ticket import SlotRequest, Tier
from serve_app.config.tenants import TenantsConfig
from tests.unit.serve_app.conftest import with_ceilings

CHAT = "/v1/chat/completions"
ASK = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 30}
ANSWER = {
    "id": "1",
    "choices": [],
    "usage": {"prompt_tokens": 7, "completion_tokens": 30, "total_tokens": 37},
}


async def test_a_contended_ceiling_binds_from_so_many_running_requests_on(world, engine):
    """Before that nothing is owed; from then on what is overdrawn holds up the next."""
    with_ceilings(world, tokens_per_second=1, enforce="contended", contended_from=3)
    world.lanes.answers = [engine(ANSWER) for _ in range(5)]
    codes = [(await world.post(CHAT, ASK, key="acme")).status_code for _ in range(3)]
    assert codes == [200, 200, 200]
    explained = await world.post("/v1/route", ASK, key="acme")
    assert explained.json()["would_admit"]

    contention = world.state.contentions.of("chat", 3)
    world.state.admission.lanes["chat"].queue.slots.take(3)
    world.state.contentions.observe()
    assert contention.is_contended
    codes = [(await world.post(CHAT, ASK, key="acme")).status_code for _ in range(2)]

    assert codes == [200, 429]
    explained = await world.post("/v1/route", ASK, key="acme")
    assert not explained.json()["would_admit"]


async def test_a_stream_in_a_lane_with_room_is_not_paced(world, stream):
    """At a token a second it would take half a minute."""
    with_ceilings(world, tokens_per_second=1, enforce="contended")
    token = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
    world.lanes.answers = [stream(token * 30, b"data: [DONE]\n\n")]

    answer = await world.post(CHAT, {**ASK, "stream": True}, key="acme")

    assert answer.text.count('"x"') == 30
    assert world.count("pointsman_ceiling_wait_seconds_count", tier="paid") == 0


async def test_one_more_at_once_than_allowed_is_429_tenant_concurrency(world, engine):
    """Until one of them has ended."""
    with_ceilings(world, concurrent_requests=1)
    slow = engine(ANSWER)
    gate = asyncio.Event()
    slow.parts.insert(0, gate)
    world.lanes.answers = [slow, engine(ANSWER)]
    first = asyncio.ensure_future(world.post(CHAT, ASK, key="acme"))
    await slow.waits.wait()

    second = await world.post(CHAT, ASK, key="acme")

    assert second.status_code == 429
    assert json.loads(second.text)["error"]["code"] == "tenant_concurrency"
    assert second.headers["retry-after"]
    gate.set()
    assert (await first).status_code == 200
    assert (await world.post(CHAT, ASK, key="acme")).status_code == 200


def test_a_wrong_word_is_refused():
    """`enforce` has two."""
    with pytest.raises(ValueError, match="contended"):
        TenantsConfig.model_validate({"tiers": {"a": {"ceilings": {"enforce": "never"}}}})


async def test_a_lane_with_fewer_slots_than_the_mark_is_contended_by_who_waits(world):
    """One card runs 32: with eight more in line the fortieth request makes it so."""
    with_ceilings(world, tokens_per_second=1, enforce="contended")
    state = world.state
    contention = state.contention(state.policies.auth.tenant("acme"), "chat")
    queue = state.admission.lanes["chat"].queue
    queue.set_capacity(32, 0.0)

    def ask(times):
        for _ in range(times):
            queue.submit(SlotRequest(Tier("paid"), "acme", 10), 0.0)
        state.contentions.observe()

    ask(39)
    assert (queue.slots.used, queue.in_line) == (32, 7)
    assert not contention.is_contended
    ask(1)
    assert contention.is_contended


async def test_who_waits_for_his_own_tenant_contends_for_nothing(world):
    """A KV budget holds requests back beside the queue."""
    queue = world.state.admission.lanes["chat"].queue
    for _ in range(5):
        queue.submit(SlotRequest(Tier("paid"), "acme", 10, kv=KvAsk(100, 60, 10)), 0.0)

    assert (queue.slots.used, queue.kv.waiting, queue.in_line) == (1, 4, 0)
    assert world.state.admission.load("chat") == (1, False)
