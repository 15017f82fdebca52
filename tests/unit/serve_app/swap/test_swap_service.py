"""What the arbiter's deployment makes of what lane replicas say."""

import asyncio
from types import SimpleNamespace

from router.swap.pool import SwapPool
from router.swap.terms import Act, Phase, PoolBounds, PooledLane
from serve_app.swap.service import LOST_AFTER_S, SwapService


class Replica:
    """A lane's replica that does what it is told at once, or what a test says."""

    def __init__(self) -> None:
        self.phase, self.orders, self.error, self.is_gone = "unloaded", [], "", False
        self.obeys, self.hangs, self.let_go = True, False, asyncio.Event()

    def broadcast(self, method, *args):
        async def replicas():
            return [] if self.is_gone else [SimpleNamespace(get_async=lambda: self.answer(*args))]

        return SimpleNamespace(_fetch_replica_results_async=replicas)

    async def answer(self, act=None):
        if act is not None:
            self.orders.append(act)
            if self.obeys:
                self.phase = {"wake": "awake", "sleep": "asleep", "unload": "unloaded"}[act]
        if self.hangs:
            await self.let_go.wait()
        return {"phase": self.phase, "cards": [], "weights_gib": 1.0, "error": self.error}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def service(*lanes):
    replicas = {x: Replica() for x in "ab"}
    clock = Clock()
    pools = {"p": SwapPool(PoolBounds(idle_s=0), lanes or an_order(), host_gib=10)}
    return SwapService(pools, replicas, epoch=0, clock=clock), replicas, clock


def an_order():
    return [PooledLane(x, can_sleep=True) for x in "ab"]


def report(**waiting):
    told = {lane: {0: waited} for lane, waited in waiting.items()}
    return {"p": {"holder": "i", "heard": 99, "waiting": told, "running": {}, "longest": {}}}


def phases(found):
    return [x.phase for x in found.arbiters["p"].pool.lanes.values()]


async def test_the_lanes_are_woken_and_put_to_sleep_as_requests_come():
    found, replicas, clock = service()
    await found.look()
    for _ in range(6):
        clock.now += 1
        await found.turn()
    assert replicas["a"].orders == ["wake", "sleep"]
    assert replicas["b"].orders == ["wake"]

    verdict = found.exchange(report(a=1.0) | {"unknown": {}})
    for _ in range(6):
        clock.now += 1
        await found.turn()
        verdict = found.exchange(report(a=1.0))
    assert verdict["p"]["open_lanes"] == {"a"}
    assert phases(found) == [Phase.AWAKE, Phase.ASLEEP]


async def test_nothing_is_ordered_before_every_lane_has_told_where_it_is():
    found, replicas, clock = service()
    replicas["b"].is_gone = True
    await found.look()
    await found.turn()
    assert replicas["a"].orders == []
    clock.now = LOST_AFTER_S + 1
    await found.turn()
    assert replicas["a"].orders == ["wake"]


async def test_what_is_awake_when_the_service_begins_stays():
    found, replicas, _ = service(*[PooledLane(x) for x in "ab"])
    replicas["b"].phase = "awake"
    await found.look()
    await found.turn()

    assert phases(found) == [Phase.UNLOADED, Phase.AWAKE]
    assert replicas["a"].orders == []


async def test_a_lane_that_does_not_wake_is_broken_for_a_while():
    found, replicas, _ = service()
    replicas["a"].obeys, replicas["a"].error = False, "RuntimeError"
    await found.look()
    await found.turn()

    verdict = found.exchange(report(a=1.0))["p"]
    assert verdict["broken_s"]["a"] > 0


async def test_a_replica_that_is_busy_or_slow_is_asked_again():
    found, replicas, clock = service(*[PooledLane(x) for x in "ab"])
    replicas["a"].phase = "awake"
    replicas["a"].obeys = False
    await found.look()
    clock.now = 100.0
    for _ in range(3):
        found.exchange(report(b=1.0))
        await found.turn()
    assert replicas["a"].orders and set(replicas["a"].orders) == {Act.UNLOAD.value}
    assert phases(found)[0] is Phase.CLOSING
    replicas["a"].phase = "falling"
    found.exchange(report(b=1.0))
    await found.turn()
    assert phases(found)[0] is Phase.FALLING
    replicas["a"].phase = "unloaded"
    await found.turn()
    assert phases(found) == [Phase.UNLOADED, Phase.AWAKE]


async def test_a_lane_that_cannot_be_asked_does_not_stop_the_others():
    found, replicas, clock = service()
    await found.look()
    replicas["a"].broadcast = None
    for _ in range(3):
        clock.now += LOST_AFTER_S / 2
        found.exchange(report(b=1.0))
        await found.turn()

    assert replicas["b"].orders == ["wake"]


async def test_a_lane_that_hangs_is_not_waited_for(monkeypatch):
    """It wakes and says nothing more; those of another pool take turns meanwhile."""
    monkeypatch.setattr("serve_app.swap.service.ASK_WITHIN_S", 1e6)
    replicas = {x: Replica() for x in "abc"}
    pools = {
        "p": SwapPool(PoolBounds(idle_s=0), [PooledLane("a")], host_gib=10),
        "q": SwapPool(PoolBounds(idle_s=0), [PooledLane(x) for x in "bc"], host_gib=10),
    }
    clock = Clock()
    found = SwapService(pools, replicas, epoch=0, clock=clock)
    replicas["b"].phase = "awake"
    await found.look()
    replicas["a"].hangs = True
    async with asyncio.timeout(30):
        while not replicas["c"].orders:
            clock.now += 0.5
            found.exchange({"q": report(c=1.0)["p"]})
            await found.turn()
            await asyncio.sleep(0)
    assert (replicas["b"].orders, replicas["c"].orders) == (["unload"], ["wake"])
    assert found.arbiters["p"].pool.lanes["a"].phase is Phase.WAKING
    # It is asked once, and its answer counts when it comes.
    assert replicas["a"].orders == ["wake"]
    replicas["a"].let_go.set()
    async with asyncio.timeout(30):
        while found.arbiters["p"].pool.lanes["a"].phase is not Phase.AWAKE:
            await asyncio.sleep(0)
            await found.turn()


async def test_an_answer_that_cannot_be_used_is_logged_and_the_lane_asked_again(caplog):
    found, replicas, _ = service()
    replicas["a"].phase = "dreaming"
    await found.look()
    assert "the answer of lane 'a' cannot be used" in caplog.text
    replicas["a"].phase = "awake"
    await found.look()
    assert phases(found)[0] is Phase.AWAKE


async def test_a_replica_that_is_gone_has_no_engine():
    found, replicas, clock = service()
    replicas["a"].phase = "awake"
    await found.look()
    replicas["a"].is_gone = True
    clock.now = LOST_AFTER_S + 1
    await found.look()

    assert phases(found)[0] is Phase.UNLOADED


async def test_a_lane_that_is_gone_does_not_keep_the_others_off_their_card():
    """It counts as one that does not wake: the next attempt waits, and its requests hear why."""
    found, replicas, clock = service()
    replicas["a"].is_gone = True
    clock.now = LOST_AFTER_S + 1
    waiting = report(a=5.0, b=1.0)
    for _ in range(20):
        found.exchange(waiting)
        await found.turn()
        clock.now += 0.1

    assert phases(found)[1] is Phase.AWAKE
    assert found.exchange(waiting)["p"]["broken_s"]["a"] > 0

    replicas["a"].is_gone = False
    await found.look()
    for _ in range(4):
        found.exchange(report(a=5.0))
        await found.turn()
    assert replicas["a"].orders == ["wake"]
