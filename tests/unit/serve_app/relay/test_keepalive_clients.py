"""Stock clients at a gateway under uvicorn, whose engine keeps them waiting."""

import asyncio
import contextlib
import json
import socket

import anthropic
import httpx
import openai
import pytest
import uvicorn

from serve_app.relay.keepalive import COMMENT
from serve_app.transport.upstream import BrokenConnection
from tests.unit.serve_app.relay.listening import ASK, CHAT, STREAMED, with_keepalive

DELTAS = [{"id": "c1", "choices": [{"index": 0, "delta": {"content": x}}]} for x in ("a", "b")]
EVENTS = [b"data: " + json.dumps(data).encode() + b"\n\n" for data in DELTAS]
DONE = b"data: [DONE]\n\n"
MESSAGE = [
    {"type": "message_start", "message": {"id": "m1", "usage": {"input_tokens": 2}}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
    {"type": "message_stop"},
]
RESPONSE = [
    {"type": "response.created", "response": {"id": "r1"}},
    {"type": "response.output_text.delta", "delta": "a"},
    {"type": "response.completed", "response": {"id": "r1", "usage": None}},
]


def named(events) -> list[bytes]:
    return [f"event: {x['type']}\ndata: {json.dumps(x)}\n\n".encode() for x in events]


@contextlib.asynccontextmanager
async def served(app):
    """The app's URL; what is served ends with it."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        config = uvicorn.Config(app, log_config=None, lifespan="off", ws="none")
        server = uvicorn.Server(config)
        # The kernel takes connections in from now on.
        task = asyncio.create_task(server.serve([listening]))
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        await task


@pytest.fixture
async def url(world):
    """The gateway, with a comment every fiftieth of a second."""
    with_keepalive(world, 0.02)
    async with served(world.gateway) as made:
        yield made


@pytest.fixture
async def gpt(world, url):
    key = world.keys["acme"]
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=2) as made:
        yield made


@pytest.fixture
async def claude(world, url):
    key = world.keys["acme"]
    async with anthropic.AsyncAnthropic(base_url=url, api_key=key, max_retries=2) as made:
        yield made


async def test_the_first_bytes_come_long_before_the_engine_speaks(world, stream, url):
    """And without the comments the body is the engine's."""
    gate = asyncio.Event()
    world.lanes.answers = [stream(gate, *EVENTS, DONE)]
    got = b""
    headers = {"x-api-key": world.keys["acme"]}
    async with (
        httpx.AsyncClient(timeout=30) as client,
        client.stream("POST", f"{url}{CHAT}", json=STREAMED, headers=headers) as response,
    ):
        assert response.headers["x-pointsman-lane"] == "chat"
        async for data in response.aiter_raw():
            got += data
            if got.count(COMMENT) == 3:
                gate.set()

    assert got.count(COMMENT) >= 3
    assert got.replace(COMMENT, b"") == b"".join([*EVENTS, DONE])


async def test_openais_client_sees_the_engines_chunks_and_no_more(world, stream, gpt):
    gates = asyncio.Event(), asyncio.Event()
    world.lanes.answers = [stream(gates[0], EVENTS[0], gates[1], EVENTS[1], DONE)]
    chunks = await gpt.chat.completions.create(**STREAMED, model="auto")
    # The head is there: it came with a comment.
    assert chunks.response.headers["x-pointsman-lane"] == "chat"
    gates[0].set()

    got = []
    async for chunk in chunks:
        got.append(chunk.model_dump(exclude_unset=True))
        asyncio.get_running_loop().call_later(0.1, gates[1].set)

    assert got == DELTAS


async def test_openais_client_of_responses_sees_no_more_either(world, stream, gpt):
    gate = asyncio.Event()
    world.lanes.answers = [stream(gate, *named(RESPONSE))]
    events = await gpt.responses.create(input="Hello", stream=True, model="auto")
    gate.set()

    assert [event.type async for event in events] == [x["type"] for x in RESPONSE]


async def test_anthropics_client_sees_no_more_either(world, stream, claude):
    gate = asyncio.Event()
    world.lanes.answers = [stream(gate, *named(MESSAGE))]
    events = await claude.messages.create(
        messages=ASK["messages"], max_tokens=5, stream=True, model="auto"
    )
    gate.set()

    assert [event.type async for event in events] == [x["type"] for x in MESSAGE]


async def test_openais_client_raises_a_late_refusal_with_its_code(world, stream, gpt):
    """Once: what a stream says is not tried again by the client itself."""
    gate = asyncio.Event()
    world.lanes.answers = [stream(gate, BrokenConnection("cut")) for _ in range(3)]
    chunks = await gpt.chat.completions.create(**STREAMED, model="auto")
    gate.set()

    with pytest.raises(openai.APIError) as raised:
        async for _ in chunks:
            pass

    assert raised.value.code == "request_rate"
    assert raised.value.body["retry_after"] == 10
    assert len(world.lanes.opened) == 2


async def test_openais_client_of_responses_raises_it_too(world, stream, gpt):
    gate = asyncio.Event()
    world.lanes.answers = [stream(gate, BrokenConnection("cut")) for _ in range(3)]
    events = await gpt.responses.create(input="Hello", stream=True, model="auto")
    gate.set()

    with pytest.raises(openai.APIError) as raised:
        async for _ in events:
            pass

    assert raised.value.code == "request_rate"


async def test_anthropics_client_raises_it_too(world, stream, claude):
    gate = asyncio.Event()
    world.lanes.answers = [stream(gate, BrokenConnection("cut")) for _ in range(3)]
    events = await claude.messages.create(
        messages=ASK["messages"], max_tokens=5, stream=True, model="auto"
    )
    gate.set()

    with pytest.raises(anthropic.APIStatusError) as raised:
        async for _ in events:
            pass

    error = raised.value.body["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "request_rate")
    assert error["retry_after"] == 10


async def test_a_refusal_in_time_is_an_http_status_for_the_client(world, stream, gpt):
    """Which it tries again by itself, as ever. The setting is reloaded meanwhile."""
    with_keepalive(world, 15)
    world.lanes.answers = [stream(BrokenConnection("cut")) for _ in range(3)]
    gpt.max_retries = 0

    with pytest.raises(openai.RateLimitError) as raised:
        await gpt.chat.completions.create(**STREAMED, model="auto")

    assert raised.value.status_code == 429
    assert raised.value.response.headers["retry-after"] == "10"
