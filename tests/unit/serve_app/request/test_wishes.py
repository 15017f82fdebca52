"""`max_tokens` is a wish: under ceilings, in lanes, and towards engines."""

import asyncio
import json

import pytest

from tests.unit.serve_app.conftest import FakeResponse, with_tier

CHAT = "/v1/chat/completions"
HI = [{"role": "user", "content": "Say hi."}]
SHORT = {
    "id": "1",
    "choices": [],
    "usage": {"prompt_tokens": 31, "completion_tokens": 20, "total_tokens": 51},
}
TOKEN = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
EVENTS, JSON = "text/event-stream", "application/json"
DONE = b"data: [DONE]\n\n"


def per_minute(world, tokens) -> None:
    with_tier(world, ceilings={"tokens_per_minute": tokens})


@pytest.mark.parametrize("limit", [600, 3_000])
async def test_six_at_once_that_may_use_half_the_minute_each(world, stream, limit):
    """Two pass, the rest hear when to come back."""
    per_minute(world, limit)
    gates = [asyncio.Event() for _ in range(6)]
    world.lanes.answers = [stream(TOKEN, gate, DONE) for gate in gates]
    body = {"prompt": "Count:", "max_tokens": limit // 2, "ignore_eos": True, "stream": True}
    asked = [
        asyncio.ensure_future(world.post("/v1/completions", body, key="acme")) for _ in range(6)
    ]
    refused = [await answer for answer in asked[2:]]
    for gate in gates:
        gate.set()
    passed = [await answer for answer in asked[:2]]

    assert [x.status_code for x in passed] == [200, 200]
    assert [x.json()["error"]["code"] for x in refused] == ["token_rate"] * 4
    assert all(1 <= int(x.headers["retry-after"]) <= 60 for x in refused)


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, {"ignore_eos": True}),
        (CHAT, {"min_tokens": 2_000}),
        (CHAT, {"min_tokens": 2_000.0, "max_tokens": None}),
        ("/v1/completions", {"ignore_eos": True, "max_tokens": 3_500}),
        ("/v1/responses", {"ignore_eos": True, "max_tokens": 1}),
    ],
)
async def test_an_answer_that_must_be_long_is_reserved_so_without_a_limit(
    world, path, fields, is_stream
):
    """Leaving `max_tokens` out is no way round the ceiling: two of six pass."""
    per_minute(world, 3_000)
    gates = [asyncio.Event() for _ in range(6)]
    world.lanes.answers = [
        FakeResponse(gate, DONE if is_stream else b"{}", content_type=EVENTS if is_stream else JSON)
        for gate in gates
    ]
    prompt = {CHAT: {"messages": HI}, "/v1/completions": {"prompt": "Hi"}}
    body = {**prompt.get(path, {"input": "Hi"}), **fields, "stream": is_stream}
    asked = [asyncio.ensure_future(world.post(path, body, key="acme")) for _ in range(6)]

    refused = [await answer for answer in asked[2:]]
    reserved = world.reserved()
    for gate in gates:
        gate.set()

    assert [x.json()["error"]["code"] for x in refused] == ["token_rate"] * 4
    assert reserved == 3_000
    assert [(await x).status_code for x in asked[:2]] == [200, 200]


async def test_a_stream_without_a_limit_is_reckoned_at_a_usual_answer(world, stream):
    """It is charged as it grows: else two at once would be all that a chat page could have."""
    per_minute(world, 3_000)
    world.lanes.answers = [stream(TOKEN, DONE) for _ in range(6)]
    body = {"messages": HI, "stream": True}
    asked = (world.post(CHAT, body, key="acme") for _ in range(6))

    assert {x.status_code for x in await asyncio.gather(*asked)} == {200}


async def test_a_whole_answer_without_a_limit_is_reckoned_at_all_that_it_may_be(world):
    """It is there at once: leaving the limit out is no way round the ceiling."""
    per_minute(world, 3_000)
    gate = asyncio.Event()
    world.lanes.answers = [
        FakeResponse(gate, json.dumps(SHORT).encode(), content_type=JSON) for _ in range(6)
    ]
    asked = [
        asyncio.ensure_future(world.post(CHAT, {"messages": HI}, key="acme")) for _ in range(6)
    ]

    refused = [await answer for answer in asked[2:]]
    reserved = world.reserved()
    gate.set()

    assert [x.json()["error"]["code"] for x in refused] == ["token_rate"] * 4
    assert reserved == 3_000
    assert [(await x).status_code for x in asked[:2]] == [200, 200]
    assert world.reserved() == 0
