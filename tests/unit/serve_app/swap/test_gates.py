"""Requests that wait for their lane, and what the arbiter is told of them."""

import asyncio

import pytest

from router.errors import Rejected, RejectReason
from serve_app.config.fleet import FleetConfig
from serve_app.swap.gates import Gates, Pass

LANE = {"model_source": "m", "max_model_len": 4096, "engine": "simulated", "cards": "p"}


class Told:
    """An arbiter that says what a test has it say, and keeps what it hears."""

    def __init__(self) -> None:
        self.open_lanes, self.broken_s, self.closing = {"a"}, {}, 0
        self.heard, self.is_silent = [], False

    async def exchange(self, report):
        self.heard.append(report["p"])
        if self.is_silent:
            raise TimeoutError
        told = {"closing": self.closing, "open_lanes": self.open_lanes, "wait_s": {"b": 7.0}}
        return {"p": told | {"broken_s": self.broken_s}}


def fleet_with(**pool):
    fleet = {
        "name": "f",
        "lanes": {x: LANE | {"model_id": x} for x in "ab"},
        "pools": {"p": pool},
        "routing": {"default": "a"},
    }
    return FleetConfig.model_validate(fleet)


def gates(told, **pool):
    return Gates(fleet_with(**pool), "i1", told.exchange)


def enter(found, lane="b", priority=0, waited_s=0.0, within_s=None, tenant="t"):
    return found.enter(lane, tenant, priority, waited_s, within_s)


async def test_an_open_gate_is_passed_without_waiting_and_counted_until_it_is_left():
    told = Told()
    found = gates(told)
    assert found.is_shut("a") and found.has_slept_only("b")
    await found.beat()
    assert not found.has_slept_only("b")
    passed = await enter(found, "a", 5)

    assert isinstance(passed, Pass) and not found.is_shut("a")
    await found.beat()
    assert told.heard[-1]["running"] == {"a": {5: 1}}
    passed.leave()
    passed.leave()
    await found.beat()
    assert told.heard[-1]["running"] == {}
    assert list(told.heard[-1]["longest"]) == ["a"]
    await found.beat()
    assert told.heard[-1]["longest"] == {}


async def test_a_lane_without_a_pool_has_no_gate():
    assert await enter(gates(Told()), "own") is None
    assert not gates(Told()).is_shut("own") and not gates(Told()).has_slept_only("own")


async def test_who_waits_is_reported_and_let_through_when_the_lane_is_awake():
    told = Told()
    found = gates(told)
    waiting = [asyncio.ensure_future(enter(found, "b", x, waited_s=3.0)) for x in (0, 9)]
    await asyncio.sleep(0)
    await found.beat()
    assert found.status()["b"] == {"pool": "p", "awake": False, "waiting": 2, "wait_s": 7.0}
    waits = told.heard[-1]["waiting"]["b"]
    assert sorted(waits) == [0, 9] and min(waits.values()) >= 3.0

    told.open_lanes, told.closing = {"b"}, 4
    await found.beat()
    assert all(isinstance(x, Pass) for x in await asyncio.gather(*waiting))
    await found.beat()
    assert told.heard[-1]["running"] == {"b": {0: 1, 9: 1}}
    assert (told.heard[-1]["heard"], told.heard[-1]["waiting"]) == (4, {})


async def test_a_client_that_leaves_waits_no_more():
    told = Told()
    found = gates(told)
    waiting = asyncio.ensure_future(enter(found))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    await found.beat()

    assert told.heard[-1]["waiting"] == {}


@pytest.mark.parametrize("within_s", [None, 0.05])
async def test_nobody_waits_beyond_the_bound_or_the_tiers_own(within_s):
    told = Told()
    found = gates(told, wait_bound_s=1.0)
    await found.beat()
    refused = await enter(found, waited_s=0.0 if within_s else 0.95, within_s=within_s)

    assert isinstance(refused, Rejected)
    assert (refused.reason, refused.retry_after_s) == (RejectReason.DEADLINE_EXCEEDED, 7.0)
    assert "other lanes had its cards" in refused.message


async def test_a_tier_that_may_wait_for_less_is_reported_as_so_much_older():
    told = Told()
    found = gates(told, wait_bound_s=100.0)
    waiting = asyncio.ensure_future(enter(found, waited_s=3.0, within_s=30.0))
    await asyncio.sleep(0)
    await found.beat()
    waiting.cancel()

    assert 73.0 <= told.heard[-1]["waiting"]["b"][0] < 80.0


async def test_a_lane_that_does_not_wake_is_told_at_once_to_those_who_wait_and_who_come():
    told = Told()
    found = gates(told)
    waiting = asyncio.ensure_future(enter(found))
    await asyncio.sleep(0)
    told.broken_s = {"b": 12.0}
    await found.beat()

    for refused in (await waiting, await enter(found)):
        assert (refused.reason, refused.retry_after_s) == (RejectReason.NO_REPLICA, 12.0)


async def test_only_so_many_requests_wait():
    found = gates(Told(), max_waiting=1)
    waiting = asyncio.ensure_future(enter(found))
    await asyncio.sleep(0)
    refused = await enter(found)

    assert refused.reason is RejectReason.NO_REPLICA
    assert "as many requests as may wait" in refused.message
    waiting.cancel()


async def test_one_tenants_batch_leaves_room_for_others():
    """A lane for embeddings gives no slots out: every request of a batch waits at the gate."""
    found = gates(Told(), max_waiting=10)
    waiting = [asyncio.ensure_future(enter(found, tenant="batch")) for _ in range(9)]
    await asyncio.sleep(0)
    assert sum(x.done() for x in waiting) == 4
    other = asyncio.ensure_future(enter(found, tenant="other"))
    await asyncio.sleep(0)
    assert not other.done()
    assert found.status()["b"]["waiting"] == 6
    for task in (*waiting, other):
        task.cancel()
    await asyncio.gather(*waiting, other, return_exceptions=True)
    # All of them have left: the same batch has the same room again.
    again = [asyncio.ensure_future(enter(found, tenant="other")) for _ in range(9)]
    await asyncio.sleep(0)
    assert sum(x.done() for x in again) == 4
    for task in again:
        task.cancel()


async def test_gates_shut_when_the_arbiter_is_silent_for_longer_than_its_word_holds(monkeypatch):
    told = Told()
    found = gates(told, wait_bound_s=1.0)
    await found.beat()
    told.is_silent = True
    monkeypatch.setattr("serve_app.swap.gates.LEASE_S", 0.0)
    await found.beat()
    assert not found.is_shut("a")
    told.is_silent = False
    await found.beat()
    assert found.is_shut("a")
    told.is_silent = True
    await found.beat()
    refused = await enter(found, "a", within_s=0.05)

    assert "nobody could wake it" in refused.message


async def test_gates_of_a_pool_that_a_new_arbiter_does_not_know_are_shut():
    """Of an ingress replica that still serves while a fleet file with another pool comes."""
    told, answers = Told(), [True, False]

    async def exchange(report):
        told_now = await told.exchange(report)
        return told_now if answers.pop(0) else {}

    found = Gates(fleet_with(), "i1", exchange)
    await found.beat()
    assert not found.is_shut("a")
    await found.beat()
    assert found.is_shut("a")


async def test_reports_go_on_by_themselves_and_at_once_for_who_waits():
    told = Told()
    found = gates(told)
    running = asyncio.ensure_future(found.run())
    async with asyncio.timeout(5):
        while not told.heard:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        told.open_lanes = {"b"}
        assert isinstance(await enter(found), Pass)
    running.cancel()
