"""Requests through the gateway: what they leave in the store, and quotas that refuse them."""

import asyncio
import contextlib
import json
import sqlite3
import time
from types import SimpleNamespace

import pytest

from serve_app.config.tenants import TenantsConfig
from serve_app.routing.policies import build_policies
from serve_app.tenancy.store import Counts
from tests.unit.serve_app.conftest import FakeScorer
from tests.unit.serve_app.pipeline.test_gateway_serving import FROZEN

CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20}


def delta(text) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


def limit(world, tenant="acme", **ceilings):
    """Give a tenant ceilings, as a reload of the tenants file does."""
    data = world.tenants.model_dump()
    data["tenants"][tenant]["ceilings"] = ceilings
    for other, fields in data["tenants"].items():
        if other != tenant:
            del fields["ceilings"]
    fleet = world.state.policies.fleet
    tenants = TenantsConfig.model_validate(data)
    world.state.apply(build_policies(fleet, tenants, FakeScorer(), lambda _: 0.5, book=world.book))


def stored(world) -> dict:
    world.meter.flush()
    found = world.tenancy.usage("2000-01-01", "2100-01-01")
    return {(slot.tenant, slot.lane): counts for slot, counts in found.items()}


async def test_whole_answers_and_streams_are_counted_as_the_engine_did(world, engine, stream):
    """By tenant and lane."""
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {}}
    usage["prompt_tokens_details"]["cached_tokens"] = 8
    closing = b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"
    world.lanes.answers = [engine(), stream(delta("a"), delta("b"), closing, b"data: [DONE]\n\n")]

    await world.post(CHAT, HELLO, key="acme")
    await world.post(CHAT, {**HELLO, "stream": True, "model": "quality"}, key="acme")

    assert stored(world) == {
        ("acme", "chat"): Counts(1, 7, 0, 3),
        ("acme", "quality"): Counts(1, 9, 8, 2),
    }


@pytest.mark.parametrize("body", [{"messages": 1}, HELLO])
async def test_refused_requests_are_not_counted(world, body):
    """No engine did anything; nothing stays reserved."""
    world.lanes.empty = True

    await world.post(CHAT, body, key="acme")

    assert stored(world) == {}
    assert world.meter.reserved == {} and world.meter._open == {}


async def test_a_client_that_left_pays_for_what_was_delivered(world, stream):
    """Its prompt is estimated; an open stream's progress is in the store meanwhile."""
    answer = stream(delta("a"), delta("b"), asyncio.Event())
    world.lanes.answers = [answer]
    task = asyncio.create_task(world.post(CHAT, {**HELLO, "stream": True}, key="acme"))
    await answer.waits.wait()
    world.meter.flush()
    with contextlib.closing(sqlite3.connect(world.tenancy_path)) as db:
        ((tenant, prompt, completion),) = db.execute("SELECT tenant, prompt, completion FROM open")

    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

    assert (tenant, completion) == ("acme", 2)
    assert stored(world) == {("acme", "chat"): Counts(1, prompt, 0, 2)}
    assert prompt > 0


async def test_a_spent_quota_is_a_429_that_should_not_be_retried(world, engine):
    """With the time of its reset, and before anything is reserved."""
    limit(world, tokens_per_day=25)
    world.lanes.answers = [engine()]
    await world.post(CHAT, HELLO, key="acme")

    for _ in range(2):
        refused = await world.post(CHAT, HELLO, key="acme")

    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "token_quota")
    assert refused.headers["x-should-retry"] == "false"
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    assert world.reserved() == 0
    assert stored(world) == {("acme", "chat"): Counts(1, 7, 0, 3)}


async def test_a_dry_run_tells_of_a_spent_quota(world, engine):
    """`would_admit` asks quotas, too."""
    limit(world, tokens_per_month=25)
    before = (await world.post("/v1/route", HELLO, key="acme")).json()
    world.lanes.answers = [engine()]
    await world.post(CHAT, HELLO, key="acme")

    after = (await world.post("/v1/route", HELLO, key="acme")).json()

    assert (before["would_admit"], after["would_admit"]) == (True, False)


async def test_weights_count_in_the_minute_s_ceiling(world, engine, monkeypatch):
    """7 prompt tokens at a half and 3 completion tokens at four, rounded up."""
    clock = SimpleNamespace(monotonic=lambda: 1000.0, perf_counter=time.perf_counter)
    for module in FROZEN:
        monkeypatch.setattr(f"{module}.time", clock)
    limit(world, tokens_per_minute=1000, weights={"prompt": 0.5, "completion": 4})
    world.lanes.answers = [engine()]

    await world.post(CHAT, HELLO, key="acme")

    ceiling = world.state.ceiling(world.state.policies.auth.tenant("acme"))
    assert ceiling.tokens_state(now=1000.0).remaining == 1000 - 16
    assert world.reserved() == 0


@pytest.mark.parametrize(
    ("fields", "priority"),
    [
        ({}, 5),
        ({"priority": 7}, 7),
        ({"priority": -100}, 5),
        ({"priority": True}, 5),
        ({"priority": "0"}, 5),
        ({"priority": 2**40}, 2**31 - 1),
        ({"service_tier": "flex"}, 10),
        ({"service_tier": "flex", "priority": 20}, 20),
        ({"service_tier": "priority"}, 5),
        ({"service_tier": "auto", "priority": 6}, 6),
        ({"service_tier": ["flex"]}, 5),
    ],
)
async def test_a_body_may_lower_its_priority_and_never_raise_it(world, engine, fields, priority):
    """The tenant's tier has 5, the lowest tier 10."""
    world.lanes.answers = [engine()]

    await world.post(CHAT, {**HELLO, "model": "quality", **fields}, key="slow")

    assert world.lanes.opened[0].body["priority"] == priority


CLOSING = b'data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}\n\n'
MESSAGE = (
    b'event: message_start\ndata: {"type": "message_start", "message": {"usage": '
    b'{"input_tokens": 9, "output_tokens": 0}}}\n\n'
    b'event: content_block_delta\ndata: {"type": "content_block_delta", '
    b'"delta": {"type": "text_delta", "text": "a"}}\n\n'
    b'event: message_delta\ndata: {"type": "message_delta", "delta": {}, '
    b'"usage": {"input_tokens": 9, "output_tokens": 1}}\n\n'
    b'event: message_stop\ndata: {"type": "message_stop"}\n\n'
)
RESPONSE = (
    b'event: response.output_text.delta\ndata: {"type": "response.output_text.delta", '
    b'"delta": "a"}\n\n'
    b'event: response.completed\ndata: {"type": "response.completed", "response": '
    b'{"usage": {"input_tokens": 9, "output_tokens": 1}}}\n\n'
)


@pytest.mark.parametrize(
    ("path", "body", "parts", "end"),
    [
        (CHAT, HELLO, None, b'"usage"'),
        (CHAT, {**HELLO, "stream": True}, (delta("a"), CLOSING, b"data: [DONE]\n\n"), b"[DONE]"),
        (CHAT, {**HELLO, "stream": True}, (delta("a") + CLOSING + b"data: [DONE]\n\n",), b"[DONE]"),
        ("/v1/messages", {**HELLO, "stream": True}, (MESSAGE,), b"message_stop"),
        (
            "/v1/responses",
            {"input": "Hello", "stream": True},
            (RESPONSE,),
            b"response.completed",
        ),
    ],
)
async def test_usage_is_in_the_usage_log_before_the_client_has_the_end(
    world, engine, stream, path, body, parts, end
):
    """So a kill at any moment loses no request that a client saw finished."""
    world.lanes.answers = [engine() if parts is None else stream(*parts)]
    logged = []

    async def receive():
        return {"type": "http.request", "body": json.dumps(body).encode()}

    async def send(message):
        if end in message.get("body", b""):
            (path,) = world.usage_folder.glob("*.log")
            logged.append(path.read_text().splitlines())

    key = f"Bearer {world.keys['acme']}".encode()
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [(b"authorization", key), (b"content-type", b"application/json")],
        "query_string": b"",
        "client": ("127.0.0.1", 1),
    }
    await world.gateway(scope, receive, send)

    assert [len(lines) for lines in logged] == [1]
    counts = Counts(1, 7, 0, 3) if parts is None else Counts(1, 9, 0, 1)
    assert tuple(json.loads(logged[0][0])[-4:]) == counts
    assert stored(world) == {("acme", "chat"): counts}
