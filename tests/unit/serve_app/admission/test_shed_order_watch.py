"""Violations of the shed order, as each ingress replica counts its own."""

import asyncio
import time

import pytest

from router.admission.saturation import Level
from router.admission.shed_order import AdmissionLog, Event
from serve_app.admission.shed_order_watch import WAIT_S, ShedOrderWatch, clock_id
from serve_app.metrics import Metrics
from tests.unit.serve_app.admission.test_admission import (
    ASK,
    CHAT,
    DONE,
    STREAMED,
    TOKEN,
    queue_of,
    until,
    with_slots,
)


class Replica:
    """One ingress replica's log and watch; `peers` are what a broadcast reaches."""

    def __init__(self, name, peers, replicas=2) -> None:
        self.metrics = Metrics()
        # As old as what is written below.
        self.log = AdmissionLog(now=time.monotonic() - 100)
        self.asked = 0
        self.peers = peers
        self.watch = ShedOrderWatch(self.log, self.metrics, self._broadcast, name, replicas)
        peers.append(self.watch.export)

    async def _broadcast(self, method):
        assert method == "shed_order_export"
        self.asked += 1
        return [answer() for answer in self.peers]

    def hold_free(self, ago_s, tier="free"):
        at = time.monotonic() - ago_s
        number = self.log.number()
        self.log.note(at, "chat", number, tier, Event.QUEUED, sheddable=True)
        return number

    def end(self, number):
        self.log.note(time.monotonic(), "chat", number, "free", Event.LEFT, sheddable=True)

    def refuse_paid(self, ago_s=0.0):
        at, number = time.monotonic() - ago_s, self.log.number()
        self.log.note(at, "chat", number, "paid", Event.REFUSED, sheddable=False, code="shed")

    def counted(self):
        registry = self.metrics.registry
        violations = registry.get_sample_value("pointsman_shed_order_violations_total")
        unverified = registry.get_sample_value("pointsman_shed_order_unverified_total")
        status = self.watch.status()
        assert (status["violations"], status["unverified"]) == (violations, unverified)
        return violations, status["in_order"], unverified, status["pending"]


@pytest.fixture
def pair():
    peers = []
    return Replica("i1", peers), Replica("i2", peers)


async def test_a_violation_is_counted_once_and_by_the_replica_that_refused(pair, caplog):
    """Though its peer held the free work; the log says who, and nothing of the request."""
    first, second = pair
    second.hold_free(3.0)
    first.refuse_paid()

    for _ in range(2):
        await first.watch.check()
        await second.watch.check()

    assert first.counted() == (1, 0, 0, 0)
    assert second.counted() == (0, 0, 0, 0)
    seen = first.watch.status()["latest"]
    assert [(x["lane"], x["code"], x["free_held_by"]) for x in seen] == [("chat", "shed", "i2")]
    assert "i2" in caplog.text


async def test_a_refusal_in_order_is_none(pair):
    """The free work was gone first; nobody is asked while there is nothing to judge."""
    first, second = pair
    held = second.hold_free(3.0)
    second.end(held)
    await first.watch.check()
    assert first.asked == 0
    first.refuse_paid()

    await first.watch.check()

    assert first.asked == 1 and first.counted() == (0, 1, 0, 0)


@pytest.mark.parametrize(
    "silent",
    [
        lambda: RuntimeError("gone"),
        lambda: None,
        lambda: {"replica": "i2", "clock": clock_id()},
        lambda: {"replica": "i2", "clock": "x", "born": 0, "start": None, "until": "?", "held": {}},
    ],
)
async def test_a_peer_that_does_not_answer_is_asked_again_and_then_given_up(pair, silent):
    """Neither a violation nor in order; what it says later counts, if it comes in time."""
    first, second = pair
    first.peers[1] = silent
    first.refuse_paid()
    await first.watch.check()
    assert first.counted() == (0, 0, 0, 1)

    first.peers[1] = second.watch.export
    await first.watch.check()
    assert first.counted() == (0, 1, 0, 0)

    first.peers[1] = silent
    first.refuse_paid(ago_s=WAIT_S + 1)
    await first.watch.check()
    assert first.counted() == (0, 1, 1, 0)


async def test_a_violation_needs_no_complete_answers(pair):
    """One log that proves it is enough."""
    first, _ = pair
    first.peers[1] = lambda: None
    first.hold_free(3.0)
    first.refuse_paid()

    await first.watch.check()

    assert first.counted() == (1, 0, 0, 0)


async def test_an_ingress_on_another_machine_is_read_by_the_time_of_its_answer(pair):
    """Its monotonic clock began at another time."""
    first, second = pair
    second.hold_free(3.0)

    def export():
        exported = {**second.watch.export(), "clock": "another boot"}
        for name in ("born", "until"):
            exported[name] += 12_345
        exported["events"] = [(at + 12_345, *rest) for at, *rest in exported["events"]]
        return exported

    first.peers[1] = export
    first.refuse_paid()
    # Its answer must be from after the refusal by more than its clock may be off.
    async with asyncio.timeout(10):
        while first.counted()[0] == 0:
            await first.watch.check()

    assert first.counted() == (1, 0, 0, 0)


async def test_the_only_replica_asks_nobody():
    """Its own log is all there is."""
    alone = Replica("i1", [], replicas=1)
    alone.refuse_paid()

    await alone.watch.check()

    assert alone.asked == 0 and alone.counted() == (0, 1, 0, 0)


async def test_refusals_beyond_the_bound_are_unverified(monkeypatch):
    """Memory is bounded, and the count says what that cost."""
    monkeypatch.setattr("serve_app.admission.shed_order_watch.MAX_PENDING", 3)
    alone = Replica("i1", [], replicas=1)
    for _ in range(5):
        alone.refuse_paid()

    await alone.watch.check()

    assert alone.counted() == (0, 3, 2, 0)


async def test_the_watch_outlives_what_a_broadcast_raises(pair, monkeypatch, caplog):
    """It is logged, and the refusal is judged in the next round."""
    first, _ = pair
    monkeypatch.setattr("serve_app.admission.shed_order_watch.PERIOD_S", 0.001)
    rounds = []

    def fails():
        rounds.append(1)
        if len(rounds) == 1:
            raise RuntimeError("broadcast")

    first.peers.append(fails)
    first.refuse_paid()
    task = asyncio.ensure_future(first.watch.run())
    await until(lambda: len(rounds) > 1 or first.counted()[1])
    task.cancel()

    assert "a round of judging failed" in caplog.text


# -- what the gateway writes ----------------------------------------------------


def held(world):
    """Free requests that the log of the ingress replica shows as held now."""
    exported = world.state.admission.log.export(time.monotonic())
    numbers = {number for numbers in exported["held"].values() for number in numbers}
    for _, _, number, comes in exported["events"]:
        numbers = numbers | {number} if comes else numbers - {number}
    return len(numbers)


async def test_free_work_is_held_from_the_queue_to_its_first_token(world, stream):
    """Of a stream its first event; what is still sent after it does not count."""
    with_slots(world, 1)
    gates = [asyncio.Event(), asyncio.Event()]
    answers = [stream(gates[0], TOKEN, gates[1], DONE), stream(TOKEN, DONE)]
    world.lanes.answers = list(answers)
    first = asyncio.ensure_future(world.post(CHAT, STREAMED, key="guest"))
    await until(answers[0].waits.is_set)
    second = asyncio.ensure_future(world.post(CHAT, STREAMED, key="guest"))
    await until(lambda: queue_of(world).is_waiting)
    assert held(world) == 2 == queue_of(world).preemption.sheddable_held()

    answers[0].waits.clear()
    gates[0].set()
    await until(answers[0].waits.is_set)
    assert held(world) == 1
    gates[1].set()

    assert [(await x).status_code for x in (first, second)] == [200, 200]
    assert held(world) == 0


@pytest.mark.parametrize("leaves", ["client", "evicted", "shed", "at the door"])
async def test_free_work_that_ends_in_any_way_is_not_held(world, stream, leaves):
    """The client hangs up, or it is told no."""
    with_slots(world, 2)
    answer = stream(asyncio.Event(), TOKEN, DONE)
    world.lanes.answers = [answer]
    free = asyncio.ensure_future(world.post(CHAT, STREAMED, key="guest"))
    await until(answer.waits.is_set)
    assert held(world) == 1

    if leaves == "client":
        free.cancel()
    elif leaves == "evicted":
        queue_of(world).set_level(Level.EVICT, time.monotonic())
    else:
        if leaves == "shed":
            queue_of(world).set_level(Level.HOLD, time.monotonic())
        else:
            queue_of(world).set_level(Level.SHED, time.monotonic())
        other = asyncio.ensure_future(world.post(CHAT, STREAMED, key="guest"))
        if leaves == "shed":
            await until(lambda: queue_of(world).is_waiting)
            assert held(world) == 2
            queue_of(world).set_level(Level.SHED, time.monotonic())
        assert (await other).status_code == 429
        assert held(world) == 1
        free.cancel()
    await asyncio.wait([free])

    assert held(world) == 0 == queue_of(world).preemption.sheddable_held()


async def test_a_paid_refusal_is_written_when_the_client_is_told(world, stream):
    """And judged from outside: here free work ran and had sent nothing for a second."""
    with_slots(world, 2)
    log = world.state.admission.log
    world.lanes.empty = True

    assert (await world.post(CHAT, ASK, key="acme")).status_code == 503

    taken, lost = log.take_refusals()
    assert [(x.lane, x.tier, x.code) for x in taken] == [("chat", "paid", "no_replica")]
    assert lost == 0
    # Where paid work has just found no replica, no free work is let in.
    assert (await world.post(CHAT, ASK, key="guest")).status_code == 429
    assert log.take_refusals() == ([], 0)
