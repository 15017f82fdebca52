"""The stages of a request: one at a time, added up, and told."""

import asyncio
import json
import re

import pytest

from serve_app.request.stages import Stage, Stages, server_timing
from serve_app.transport.upstream import BrokenConnection

BASE = "http://localhost/v1"
CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}
DEBUG = {"x-pointsman-debug": "1"}
TOKEN = b'data: {"choices": [{"delta": {"content": "x"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
WAIT_S = 0.05

_METRIC = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+;dur=\d+\.\d+")


def seconds(world, stage: str) -> float:
    return world.count("pointsman_stage_seconds_sum", stage=stage)


def times(world, stage: str) -> float:
    return world.count("pointsman_stage_seconds_count", stage=stage)


def told(timing: str) -> dict[str, float]:
    """Read a `Server-Timing` header: milliseconds by name; fail where it is none."""
    parts = timing.split(", ")
    assert all(map(_METRIC.fullmatch, parts))
    return {name: float(ms) for name, _, ms in (x.partition(";dur=") for x in parts)}


async def later(gate: asyncio.Event) -> None:
    await asyncio.sleep(WAIT_S)
    gate.set()


def test_a_stage_that_is_entered_twice_is_added_up(monkeypatch):
    """And what follows the end is nobody's."""
    clock = iter([1.0, 3.0, 3.5, 7.5, 8.0, 99.0])
    monkeypatch.setattr("serve_app.request.stages.time.perf_counter", lambda: next(clock))
    stages = Stages(0.0)
    for stage in (Stage.ENGINE, Stage.OTHER, Stage.ENGINE, Stage.RELAY):
        stages.enter(stage)
    assert stages.close() == 8.0
    stages.enter(Stage.QUEUE)

    assert stages == {"parse": 1.0, "engine": 6.0, "other": 0.5, "relay": 0.5}


def test_the_header_has_the_stages_in_their_order_in_milliseconds():
    """As W3C's Server-Timing has it."""
    assert server_timing({"relay": 0.0021, "auth": 0.0001}, 1.5) == (
        b"auth;dur=0.100, relay;dur=2.100, total;dur=1500.000"
    )


async def test_the_stages_add_up_to_the_request_s_duration(world, stream):
    """None of its time is in none, and each of the contract's six is there."""
    gate = asyncio.Event()
    world.lanes.answers = [stream(gate, TOKEN, DONE)]
    opening = asyncio.create_task(later(gate))

    await world.post(CHAT, {**HELLO, "stream": True})
    await opening

    known = {x.value for x in Stage} - {"summarise"}
    assert {x for x in known if times(world, x) == 1} == known
    duration = world.count("pointsman_request_duration_seconds_sum", lane="chat", tier="local")
    total = sum(seconds(world, x) for x in known - {"auth"})
    assert total == pytest.approx(duration, abs=1e-9)
    assert duration >= 0.9 * WAIT_S


async def test_the_engine_s_stage_lasts_until_a_stream_s_first_event(world, stream):
    """Its head comes at once and says nothing; what follows is relayed."""
    first, last = asyncio.Event(), asyncio.Event()
    world.lanes.answers = [stream(first, TOKEN, last, DONE)]
    opening = asyncio.create_task(later(first))
    opening.add_done_callback(lambda _: asyncio.get_running_loop().call_later(WAIT_S, last.set))

    response = await world.post(CHAT, {**HELLO, "stream": True}, headers=DEBUG)
    await opening

    assert seconds(world, "engine") >= 0.9 * WAIT_S
    assert seconds(world, "relay") >= 0.9 * WAIT_S
    head = told(response.headers["server-timing"])
    assert head["engine"] == round(1000 * seconds(world, "engine"), 3)
    assert "relay" not in head


async def test_a_stream_s_last_comment_has_what_its_head_could_not_have(world, stream):
    """The same figures, and the relay's; events come as without it."""
    world.lanes.answers = [stream(TOKEN, DONE), stream(TOKEN, DONE)]
    body = {**HELLO, "stream": True}

    plain = await world.post(CHAT, body)
    response = await world.post(CHAT, body, headers=DEBUG)

    events, _, comment = response.content.partition(b": server-timing: ")
    assert plain.content == events == TOKEN + DONE
    head, end = told(response.headers["server-timing"]), told(comment.decode().rstrip("\n"))
    assert comment.endswith(b"\n\n")
    shared = head.keys() - {"other", "total"}
    assert shared == {"auth", "parse", "classify", "queue", "choose", "engine"}
    assert {x: head[x] for x in shared} == {x: end[x] for x in shared}
    assert "relay" in end


async def test_a_whole_answer_s_head_has_all_six(world, engine):
    """What the client saw is what is counted; of the relay, all but the writing."""
    world.lanes.answers = [engine()]

    response = await world.post(CHAT, HELLO, headers=DEBUG)

    said = told(response.headers["server-timing"])
    six = ("auth", "queue", "classify", "choose", "engine", "relay")
    assert set(six) < said.keys()
    for stage in ("auth", "queue", "classify", "choose", "engine"):
        assert said[stage] == round(1000 * seconds(world, stage), 3)
    assert said["relay"] <= round(1000 * seconds(world, "relay"), 3)


async def test_a_first_attempt_that_failed_is_in_the_engine_s_time(world, stream, engine):
    """The pause before the next is nobody's stage."""
    gate = asyncio.Event()
    world.lanes.answers = [stream(gate, BrokenConnection("r1")), engine()]
    opening = asyncio.create_task(later(gate))

    response = await world.post(CHAT, HELLO)
    await opening

    assert response.status_code == 200 and len(world.lanes.opened) == 2
    assert seconds(world, "engine") >= 0.9 * WAIT_S
    assert times(world, "engine") == times(world, "choose") == 1


async def test_a_refusal_has_no_stage_that_it_did_not_come_to(world):
    """It is read, and refused: its time is told all the same."""
    response = await world.post(CHAT, {**HELLO, "model": "none such"}, headers=DEBUG)

    assert response.status_code == 404
    assert told(response.headers["server-timing"]).keys() <= {"auth", "parse", "other", "total"} | {
        "classify"
    }
    assert times(world, "engine") == times(world, "queue") == 0


async def test_official_clients_read_a_stream_with_its_last_comment(world, stream):
    """To whoever reads server-sent events it is no event, after `[DONE]` as before it."""
    from openai import AsyncOpenAI

    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "small"}
    chunk["choices"] = [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}]
    token = b"data: " + json.dumps(chunk).encode() + b"\n\n"
    world.lanes.answers = [stream(token, token, DONE)]
    async with world.client() as http:
        client = AsyncOpenAI(api_key=world.keys["acme"], base_url=BASE, http_client=http)
        chunks = await client.chat.completions.create(
            model="auto", messages=HELLO["messages"], stream=True, extra_headers=DEBUG
        )
        said = [x.choices[0].delta.content async for x in chunks]

    assert said == ["x", "x"]


async def test_the_anthropic_client_reads_one_too(world, stream):
    """Its events have names; a comment has none."""
    import httpx2
    from anthropic import AsyncAnthropic

    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta"}}
    delta["delta"]["text"] = "x"
    events = [("content_block_delta", delta), ("message_stop", {"type": "message_stop"})]
    parts = [f"event: {x}\ndata: {json.dumps(y)}\n\n".encode() for x, y in events]
    world.lanes.answers = [stream(*parts)]
    transport = httpx2.ASGITransport(world.gateway, client=("127.0.0.1", 1))
    async with httpx2.AsyncClient(transport=transport) as http:
        client = AsyncAnthropic(
            api_key=world.keys["acme"], base_url=BASE.removesuffix("/v1"), http_client=http
        )
        found = await client.messages.create(
            model="auto", max_tokens=5, messages=HELLO["messages"], stream=True, extra_headers=DEBUG
        )
        said = [x.type async for x in found]

    assert said == ["content_block_delta", "message_stop"]
