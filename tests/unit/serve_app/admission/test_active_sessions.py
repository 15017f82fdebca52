"""Sessions at work now, and sessions of the last half hour: two figures, two names."""

import asyncio

from tests.unit.serve_app.admission.test_admission import (
    CHAT,
    DONE,
    STREAMED,
    TOKEN,
    until,
    with_slots,
)


def figures(world):
    """Both of the lane, as /metrics has them."""
    world.control.refresh_gauges()
    return tuple(
        world.count(f"pointsman_{name}_sessions", lane="chat") for name in ("active", "recent")
    )


async def test_a_session_is_active_while_it_generates_and_recent_after_it(world, stream):
    gate = asyncio.Event()
    answer = stream(TOKEN, gate, DONE)
    world.lanes.answers = [answer]
    assert figures(world) == (0, 0)

    asked = asyncio.ensure_future(world.post(CHAT, STREAMED, key="acme"))
    await until(answer.waits.is_set)
    assert figures(world) == (1, 1)
    gate.set()
    assert (await asked).status_code == 200

    assert figures(world) == (0, 1)


async def test_who_waits_for_a_slot_is_active_too(world, stream):
    """And has not been anywhere yet, so it is not recent; whoever leaves is neither."""
    with_slots(world, 1)
    gate = asyncio.Event()
    first = stream(TOKEN, gate, DONE)
    world.lanes.answers = [first, stream(TOKEN, DONE)]
    sessions = ({"x-session-id": name} for name in "ab")
    asked = [
        asyncio.ensure_future(world.post(CHAT, STREAMED, key="acme", headers=headers))
        for headers in sessions
    ]
    await until(first.waits.is_set)
    await until(lambda: world.state.admission.depths()["chat"].get("paid") == 1)
    assert figures(world) == (2, 1)

    asked[1].cancel()
    await asyncio.wait([asked[1]])
    assert figures(world) == (1, 1)
    gate.set()
    await asked[0]
    assert figures(world) == (0, 1)


async def test_status_tells_both_apart(world):
    """Summed over the ingress replicas; one of an older version knows the first only."""
    snapshots = [
        {"active_sessions": {"chat": 2}, "recent_sessions": {"chat": 5}, "tenants_near_limit": []},
        {"active_sessions": {"chat": 1}, "tenants_near_limit": []},
    ]

    async def broadcast(method, within_s=3.0):
        return snapshots

    world.use(world.lanes, broadcast=broadcast)
    async with world.client(key="root") as client:
        lane = (await client.get("/status")).json()["lanes"]["chat"]

    assert (lane["active_sessions"], lane["recent_sessions"]) == (3, 5)
