"""Summaries in the place of long tool results."""

import asyncio
import json

import pytest

from tests.unit.serve_app.conftest import with_tier
from tests.unit.serve_app.summaries.summaries import (
    CHAT,
    MESSAGES,
    RESULTS,
    UNBOUND,
    every_dialect,
    long,
    written,
)

TOLD = "x-pointsman-tool-results"


def call(name):
    return ["read", {"name": name}, long(name)]


@every_dialect
async def test_a_long_result_is_summarised_and_the_response_says_so(replicas, path):
    made = replicas()

    response = await made.ask(path, [[call("a"), ["read", {}, "short"]]])

    assert response.headers[TOLD].startswith("summarised; results=1; tokens=")
    text = json.dumps(made.prompt)
    assert "Summary number 1." in text and "short" in text and "line 9:" not in text
    assert "not instructions" in text
    (asked,) = made.lanes.asked_for
    assert asked.path == CHAT and asked.url == "http://chat"
    assert asked.body["temperature"] == 0 and asked.body["max_tokens"] == 100
    assert long("a") in made.lanes.asked_text


@every_dialect
async def test_the_prefix_is_the_same_in_every_turn_and_on_every_replica(replicas, path):
    """Though no two summaries that the lane writes are alike."""
    made = replicas()
    turn, before = [], []
    for number in range(5):
        turn.append(call(str(number)))
        await made.ask(path, [turn])
        assert made.prompt[: len(before)] == before
        before = made.prompt
        made.next()

    assert len(made.lanes.asked_for) == 5
    text = json.dumps(before)
    assert all(f"Summary number {n}." in text for n in range(1, 6))


async def test_what_is_in_memory_is_asked_for_nowhere(replicas):
    made = replicas()
    for _ in range(3):
        await made.ask(CHAT, [[call("a")]])

    assert len(made.lanes.asked_for) == 1
    assert made.outcomes() == {"made": 1}


async def test_another_session_finds_it_too_and_another_tenant_does_not(replicas):
    made = replicas()
    await made.ask(CHAT, [[call("a")]], headers={"x-session-id": "one"})
    await made.ask(CHAT, [[call("a")]], headers={"x-session-id": "two"})
    assert len(made.lanes.asked_for) == 1 and made.outcomes() == {"made": 1, "found": 1}

    await made.ask(CHAT, [[call("a")]], key="root")

    assert len(made.lanes.asked_for) == 2
    salts = [asked.body["cache_salt"] for asked in made.lanes.asked_for]
    assert salts[0] != salts[1]
    assert "Summary number 2." in json.dumps(made.prompt)


async def test_without_a_disk_each_replica_has_its_own(replicas):
    made = replicas({"on_disk": False})
    await made.ask(CHAT, [[call("a")]])
    made.next()
    await made.ask(CHAT, [[call("a")]])

    assert len(made.lanes.asked_for) == 2
    assert not (made.world.folder / "summaries.db").exists()


async def test_requests_that_want_the_same_share_one_asking(replicas):
    made = replicas()
    gate = asyncio.Event()

    async def slow():
        await gate.wait()
        return written("The only one.")

    made.lanes.writes = lambda _: slow()
    asking = [
        asyncio.create_task(made.ask(CHAT, [[call("a")]], headers={"x-session-id": str(n)}))
        for n in range(4)
    ]
    await made.lanes.was_asked.wait()
    for _ in range(50):
        await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*asking)

    assert len(made.lanes.asked_for) == 1
    assert all("The only one." in json.dumps(sent) for sent in made.lanes.sent)


async def test_a_client_that_leaves_stops_nothing(replicas):
    made = replicas()
    gate = asyncio.Event()

    async def slow():
        await gate.wait()
        return written("Made for nobody.")

    made.lanes.writes = lambda _: slow()
    leaving = asyncio.create_task(made.ask(CHAT, [[call("a")]]))
    await made.lanes.was_asked.wait()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    gate.set()
    await made.ask(CHAT, [[call("a")]])

    assert len(made.lanes.asked_for) == 1
    assert "Made for nobody." in json.dumps(made.prompt)
    assert made.world.reserved() == 0


async def test_what_it_takes_is_the_tenants(replicas):
    made = replicas()

    await made.ask(CHAT, [[call("a")]])
    made.world.meter.flush()

    ((slot, counts),) = made.world.tenancy.usage("2000-01-01", "2999-01-01").items()
    assert (slot.tenant, slot.lane, counts.requests) == ("acme", "chat", 1)
    assert counts.prompt >= 900 and counts.completion >= 40
    tokens = "pointsman_tokens_total"
    assert made.world.count(tokens, tenant="acme", kind="prompt") == counts.prompt
    assert made.world.count(tokens, tenant="acme", kind="completion") == counts.completion
    assert made.world.reserved() == 0


async def test_the_answers_usage_is_its_own(replicas):
    """Clients reckon by it how full their window is."""
    made = replicas()

    response = await made.ask(CHAT, [[call("a")]])

    assert response.json()["usage"]["prompt_tokens"] < 900


async def test_a_lane_can_be_named(replicas):
    results = {**RESULTS, "summary": {"max_tokens": 100, "lane": "quality"}}
    made = replicas(agents={**UNBOUND, "tool_results": results})

    await made.ask(CHAT, [[call("a")]])

    (asked,) = made.lanes.asked_for
    assert asked.url == "http://quality" and asked.body["model"] == "large"


async def test_one_request_has_the_newest_ones_made_and_no_more_than_it_may(replicas):
    results = {**RESULTS, "summary": {"max_tokens": 100, "at_once": 2}}
    made = replicas(agents={**UNBOUND, "tool_results": results})

    response = await made.ask(CHAT, [[call(str(n)) for n in range(5)]])
    first = made.prompt
    told = response.headers[TOLD].split(", ")
    assert [x.partition("; tokens")[0] for x in told] == [
        "summarised; results=2",
        "shortened; results=3",
    ]
    assert {long("3") in x.body["messages"][0]["content"] for x in made.lanes.asked_for} == {
        True, False,
    }  # fmt: skip
    assert "Summary" in json.dumps(first[-1]) and "bytes cut here" in json.dumps(first[2])

    # What it did without, it goes on to do without.
    await made.ask(CHAT, [[call(str(n)) for n in range(6)]])
    assert made.prompt[: len(first)] == first
    assert len(made.lanes.asked_for) == 3


async def test_a_dry_run_makes_none(replicas):
    made = replicas()
    body = {"messages": [{"role": "user", "content": "Go."},
                         {"role": "tool", "tool_call_id": "1", "content": long("a")}]}  # fmt: skip

    shown = (await made.world.post("/v1/route", body, key="acme")).json()
    assert shown["task"]["results_cut"] == 1 and shown["task"]["results_summarised"] == 0
    assert not made.lanes.asked_for

    await made.send(CHAT, body)
    shown = (await made.world.post("/v1/route", body, key="acme")).json()
    assert shown["task"]["results_summarised"] == 1
    assert shown["task"]["result_tokens_summarised"] > 300


async def test_a_tier_that_shortens_asks_nobody(replicas):
    made = replicas(agents={**UNBOUND, "tool_results": {"max_tokens": 300}})

    response = await made.ask(CHAT, [[call("a")]])

    assert not made.lanes.asked_for
    assert response.headers[TOLD].startswith("shortened; results=1")


async def test_pictures_in_a_result_stay(replicas):
    made = replicas()
    source = {"type": "base64", "media_type": "image/png", "data": "x"}
    picture = {"type": "image", "source": source}
    parts = [{"type": "text", "text": long("a")}, picture, {"type": "text", "text": long("b")}]

    await made.ask(MESSAGES, [[["read", {}, parts]]])

    (block,) = made.prompt[-1]["content"]
    assert [part["type"] for part in block["content"]] == ["text", "image"]
    assert "Summary number 1." in block["content"][0]["text"]


async def test_a_summary_never_takes_more_room_than_the_limit(replicas):
    made = replicas()
    made.lanes.writes = lambda _: written("word " * 5000)

    await made.ask(CHAT, [[call("a")]])

    assert len(made.prompt[-1]["content"].encode()) <= 300 * 3.5


async def test_stage_and_counters_tell_of_it(replicas):
    made = replicas()

    response = await made.ask(CHAT, [[call("a")]], headers={"x-pointsman-debug": "1"})

    assert "summarise;dur=" in response.headers["server-timing"]
    assert made.outcomes() == {"made": 1}
    assert made.world.count("pointsman_tool_results_cut_total", tier="paid") == 0


async def test_a_reload_that_lifts_it_lifts_it(replicas):
    made = replicas()
    await made.ask(CHAT, [[call("a")]])

    with_tier(made.world, agents={**UNBOUND, "tool_results": {"max_tokens": 300}})
    response = await made.ask(CHAT, [[call("a")]])

    assert response.headers[TOLD].startswith("shortened")
