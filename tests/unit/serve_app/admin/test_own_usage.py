"""`GET /v1/usage`: a key holder's own figures, and nobody else's."""

import asyncio
import time

import pytest

from serve_app.admin import own_usage
from serve_app.records.recent_by_tenant import RecentByTenant
from serve_app.tenancy.store import Counts, Slot
from tests.unit.serve_app.records.records import record

pytestmark = pytest.mark.security


async def usage(deployment, key="acme", **kwargs):
    return (await deployment.ask("GET", "/v1/usage", key, **kwargs)).json()


async def counted(deployment, key, requests):
    """The usage once so many requests are in the store, which takes a flush."""
    async with asyncio.timeout(30):
        while (told := await usage(deployment, key))["today"]["total"]["requests"] < requests:  # noqa: ASYNC110
            await asyncio.sleep(own_usage.FRESH_S / 4)
    return told


async def test_a_holder_sees_what_its_tenant_used_and_has_left(deployment):
    for _ in range(2):
        await deployment.chat("acme", max_tokens=300)
    await deployment.chat("acme", model="quality")

    told = await counted(deployment, "acme", 3)

    rows = {x["lane"]: x for x in told["today"]["by_model"]}
    assert (rows["chat"]["requests"], rows["chat"]["completion"]) == (2, 600)
    assert rows["quality"]["model"] == "simulated-quality"
    assert told["month"]["total"] == told["today"]["total"]
    limits = {x["limit"]: x for x in told["limits"]}
    assert limits["requests_per_minute"]["most"] == 500
    assert 0 <= limits["requests_per_minute"]["used"] <= 3
    spent = sum(told["today"]["total"][x] for x in ("prompt", "completion"))
    assert limits["tokens_per_day"]["used"] == spent
    assert limits["tokens_per_day"]["remaining"] == max(0, 1000 - spent)
    newest, *_ = told["requests"]
    assert (newest["lane"], newest["reason"], newest["code"]) == ("quality", "pinned", "200")
    assert len(told["requests"]) == 3


async def test_a_limit_that_is_nearly_used_up_is_told(deployment):
    while (await deployment.chat("acme", max_tokens=200)).status_code == 200:
        pass

    async with asyncio.timeout(30):
        while not (told := await usage(deployment))["near"]:  # noqa: ASYNC110
            await asyncio.sleep(own_usage.FRESH_S / 4)

    assert told["near"][0]["limit"] == "tokens_per_day"
    assert told["near"][0]["used_ratio"] >= own_usage.NEAR_RATIO
    assert told["requests"][0]["code"] == "token_quota"


async def test_nothing_of_another_tenant_s_is_ever_in_it(deployment):
    """Whatever the request says of itself."""
    await deployment.chat("rival", "a secret of the rival's", max_tokens=5)
    await counted(deployment, "rival", 1)

    for headers, params in (
        ({}, {}),
        ({"x-tenant-id": "rival"}, {}),
        ({"x-session-id": "rival"}, {"tenant": "rival"}),
        ({}, {"tenant": ["acme", "rival"]}),
    ):
        response = await deployment.ask("GET", "/v1/usage", "acme", headers=headers, params=params)
        told = response.json()
        assert told["tenant"] == "acme"
        assert "rival" not in response.text and "secret" not in response.text
        assert told["today"]["total"]["requests"] == 0 and told["requests"] == []


async def test_it_needs_a_tenant_s_key(deployment):
    """The local admin key is no tenant's here; a foreign page has no key."""
    assert (await deployment.ask("GET", "/v1/usage", None)).status_code == 401
    assert (await deployment.ask("GET", "/v1/usage", "local")).status_code == 403


async def test_asked_often_the_store_is_read_once_a_second(deployment, monkeypatch):
    store = deployment.ingress._keys
    reads = []

    def usage_of(tenant, days):
        reads.append(tenant)
        return {}

    monkeypatch.setattr(store, "usage_of", usage_of)
    begun = time.monotonic()
    await asyncio.gather(*(usage(deployment) for _ in range(50)))
    await usage(deployment, "rival")

    assert reads.count("rival") == 1
    assert reads.count("acme") <= 1 + (time.monotonic() - begun) / own_usage.FRESH_S


def test_the_store_finds_one_tenant_s_days(world):
    from serve_app.tenancy.store import Batch, Position

    counts = {
        Slot(day, tenant, "chat"): Counts(1, 2, 0, 3)
        for day in ("2026-03-01", "2026-03-02", "2026-02-28")
        for tenant in ("acme", "rival")
    }
    world.tenancy.record("w", Batch(1, Position(), counts))

    found = world.tenancy.usage_of("acme", ["2026-03-01", "2026-03-02"])

    assert {(x.day, x.tenant) for x in found} == {("2026-03-01", "acme"), ("2026-03-02", "acme")}


def test_the_last_requests_are_bounded_by_tenant():
    """A greedy tenant pushes out nobody's but its own."""
    recent = RecentByTenant(per_tenant=3, tenants=2)
    recent.note(record(tenant="quiet", request_id="q"))
    for number in range(10):
        recent.note(record(tenant="greedy", request_id=str(number)))

    assert [x["request_id"] for x in recent.of("greedy")] == ["9", "8", "7"]
    assert [x["request_id"] for x in recent.of("quiet")] == ["q"]
    recent.note(record(tenant="third"))
    assert recent.of("quiet") == []
    assert recent.of("nobody") == []
