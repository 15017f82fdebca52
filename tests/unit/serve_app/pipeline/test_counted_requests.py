"""Requests that generate nothing count too."""

import time

import pytest

from tests.unit.serve_app.conftest import with_ceilings

pytestmark = pytest.mark.security

CHAT = "/v1/chat/completions"
COUNT = "/v1/messages/count_tokens"
HI = {"messages": [{"role": "user", "content": "Say hi."}]}


async def test_seventy_five_of_two_kinds_are_the_sixty_of_the_minute(world, engine):
    """Counting tokens and dry runs share the ceiling with everything else."""
    with_ceilings(world, requests_per_minute=60)
    world.lanes.answers = [engine({"input_tokens": 9}) for _ in range(75)]

    answers = [
        await world.post(COUNT if number % 2 else "/v1/route", HI, key="acme")
        for number in range(75)
    ]

    codes = [answer.status_code for answer in answers]
    assert codes[:60] == [200] * 60
    # Some of it may have come back by now, at one a second.
    assert codes[60:].count(429) >= 10
    refused = next(x for x in answers if x.status_code == 429 and "error" in x.json())
    assert refused.json()["error"].get("code") == "request_rate"
    assert int(refused.headers["retry-after"]) >= 1
    assert (await world.post(CHAT, HI, key="acme")).status_code == 429


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", COUNT),
        ("POST", "/v1/route"),
        ("POST", "/v1/feedback"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/auto"),
    ],
)
async def test_each_route_of_tenants_counts(world, engine, method, path):
    """Two a minute for a guest; what is wrong with the request is not even looked at."""
    world.lanes.answers = [engine(), engine()]
    async with world.client(key="guest") as client:
        for _ in range(2):
            answer = await client.request(method, path, json=HI)
            assert answer.status_code != 429
        refused = await client.request(method, path, content=b"{")

    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "request_rate"
    assert len(world.lanes.opened) == (2 if path == COUNT else 0)


@pytest.mark.parametrize("path", ["/health", "/ready", "/openapi.json"])
async def test_what_anyone_may_ask_counts_for_nobody(world, path):
    async with world.client(key="guest") as client:
        codes = [(await client.get(path)).status_code for _ in range(5)]

    assert codes == [200] * 5


async def test_no_tokens_are_charged_for_them(world):
    with_ceilings(world, requests_per_minute=60, tokens_per_minute=1_000)
    for _ in range(5):
        await world.post("/v1/route", HI, key="acme")

    ceiling = world.state.ceiling(world.state.policies.auth.tenant("acme"))
    now = time.monotonic()
    assert ceiling.tokens_state(now=now).remaining == 1_000
    assert ceiling.requests_state(now=now).remaining in (54, 55)
    assert (ceiling.running, ceiling.reserved) == (0, 0)
