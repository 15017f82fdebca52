"""Requests that wait for a slot of their lane, lose it, and give it back."""

import asyncio
import contextlib
import dataclasses
import time
from types import SimpleNamespace

import pytest

from router.admission.saturation import Level
from serve_app.admission.admission import Admission, observe_lanes
from serve_app.config.admission import AdmissionConfig
from serve_app.config.lane import LaneConfig
from serve_app.config.tenants import TenantsConfig
from serve_app.placement.lanes import NoReplica, Replica
from tests.unit.serve_app.conftest import FLEET, TIERS
from tests.unit.serve_app.simulated_lanes import Break, SimulatedLanes

CHAT = "/v1/chat/completions"
ASK = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
STREAMED = {**ASK, "stream": True}
TOKEN = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
DONE = b"data: [DONE]\n\n"


class GatedLanes:
    """Replicas whose answers come when the test says."""

    def __init__(self, make) -> None:
        self._make = make
        self.gates, self.answers, self.opened = [], [], []
        self.is_empty = False

    async def choose(self, lane, session_key, avoid=frozenset()):
        if self.is_empty:
            raise NoReplica(lane)
        ranked = sorted(("r1", "r2", "r3"), key=lambda name: (name in avoid, name))
        return Replica(ranked[0], lane)

    async def open(self, replica, path, body, headers):
        gate = asyncio.Event()
        answer = self._make(gate, b'"stream":true' in body)
        self.gates.append(gate)
        self.answers.append(answer)
        self.opened.append(replica.id)
        return answer


def with_slots(world, slots, replicas=1, **admission) -> None:
    """The world with so many slots a replica of `chat`, and a free tier that is sheddable."""
    tiers = {
        name: {**tier, "ceilings": {}, "start_within_s": 1000, "sheddable": name == "free"}
        for name, tier in TIERS.items()
    }
    tenants = world.tenants.model_dump(exclude_unset=True)
    tenants = TenantsConfig.model_validate({**tenants, "tiers": tiers})
    chat = {**FLEET["lanes"]["chat"], "engine_args": {"max_num_seqs": slots}}
    policies = world.state.policies
    lanes = {**policies.fleet.lanes, "chat": LaneConfig(**chat, replicas=replicas)}
    fleet = policies.fleet.model_copy(
        update={"lanes": lanes, "admission": AdmissionConfig(**admission)}
    )
    auth = type(policies.auth)(tenants, "quality", None)
    world.state.apply(dataclasses.replace(policies, fleet=fleet, auth=auth))
    world.state.admission = Admission(world.state.policies)


@pytest.fixture
def gated(world, engine, stream):
    """Lanes behind gates, with the room of `chat`; ask() begins a request."""

    def make(gate, streamed):
        if streamed:
            return stream(gate, TOKEN, DONE)
        answer = engine()
        answer.parts.insert(0, gate)
        return answer

    lanes = GatedLanes(make)
    world.use(lanes)

    def ask(key="acme", body=ASK):
        return asyncio.ensure_future(world.post(CHAT, body, key=key))

    return SimpleNamespace(lanes=lanes, ask=ask)


def queue_of(world):
    return world.state.admission.lanes["chat"].queue


async def until(condition) -> None:
    """Let other tasks run until something holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - there is no one event for it
            await asyncio.sleep(0)


def is_idle(world) -> bool:
    queue = queue_of(world)
    return queue.slots.used == 0 and not queue.is_waiting and queue.preemption.sheddable_held() == 0


async def test_a_request_waits_here_for_a_slot_and_not_in_the_engine(world, gated):
    """Its time in the queue is a stage, and the queue's depth a metric."""
    with_slots(world, 1)
    first = gated.ask()
    await until(lambda: gated.lanes.opened)
    second = gated.ask()
    await until(lambda: queue_of(world).is_waiting)

    world.control.refresh_gauges()
    assert world.count("pointsman_queue_depth", lane="chat", tier="paid") == 1
    assert len(gated.lanes.opened) == 1
    gated.lanes.gates[0].set()
    await first
    await until(lambda: len(gated.lanes.opened) == 2)
    gated.lanes.gates[1].set()

    assert ((await first).status_code, (await second).status_code) == (200, 200)
    # The first one's is the taking of a slot that was free.
    assert world.count("pointsman_stage_seconds_count", stage="queue") == 2
    assert is_idle(world)


async def test_a_client_that_leaves_the_queue_leaves_nothing_behind(world, gated):
    """Serve cancels the request's task; the next in line is not held up."""
    with_slots(world, 1)
    first = gated.ask()
    await until(lambda: gated.lanes.opened)
    gone = gated.ask()
    await until(lambda: queue_of(world).is_waiting)

    gone.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await gone

    assert not queue_of(world).is_waiting
    gated.lanes.gates[0].set()
    assert (await first).status_code == 200
    assert is_idle(world) and world.in_flight == 0


@pytest.mark.parametrize("body", [ASK, STREAMED])
async def test_free_work_is_evicted_before_its_first_token(world, gated, body):
    """429 and when to come back; the engine's request is aborted, the slot is given back."""
    with_slots(world, 2)
    free, paid = gated.ask("guest", body), gated.ask("acme", body)
    await until(lambda: len(gated.lanes.answers) == 2)

    queue_of(world).set_level(Level.EVICT, time.monotonic())
    response = await free

    assert (response.status_code, response.json()["error"]["code"]) == (429, "shed")
    assert int(response.headers["retry-after"]) >= 1
    assert [answer.is_closed for answer in gated.lanes.answers] == [True, False]
    assert queue_of(world).slots.used == 1 and not paid.done()
    assert world.count("pointsman_shed_total", tier="free", code="shed") == 1
    assert world.count("pointsman_shed_total", tier="paid", code="shed") == 0
    paid.cancel()


async def test_a_free_stream_that_has_begun_is_left_alone(world, stream):
    """And it is not before its first token any more."""
    with_slots(world, 2)
    gate = asyncio.Event()
    answer = stream(TOKEN, gate, DONE)
    world.lanes.answers = [answer]
    free = asyncio.ensure_future(world.post(CHAT, STREAMED, key="guest"))
    await until(answer.waits.is_set)

    queue_of(world).set_level(Level.EVICT, time.monotonic())
    gate.set()

    assert (await free).status_code == 200
    assert is_idle(world)


async def test_a_client_that_leaves_while_it_is_evicted_is_gone(world, gated):
    """Its task was cancelled twice: it is not answered."""
    with_slots(world, 2)
    free = gated.ask("guest")
    await until(lambda: gated.lanes.answers)

    queue_of(world).set_level(Level.EVICT, time.monotonic())
    free.cancel()

    with pytest.raises(asyncio.CancelledError):
        await free
    assert is_idle(world) and world.in_flight == 0


async def test_a_request_that_cannot_start_in_time_is_told_so(world, gated):
    """504 by the contract, with when to come back, and counted as shed."""
    with_slots(world, 1)
    running = gated.ask()
    await until(lambda: gated.lanes.opened)
    late = gated.ask()
    await until(lambda: queue_of(world).is_waiting)

    queue_of(world).poll(time.monotonic() + 2000)
    response = await late

    assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert int(response.headers["retry-after"]) >= 1
    assert world.count("pointsman_shed_total", tier="paid", code="deadline_exceeded") == 1
    running.cancel()


async def test_a_full_replica_is_left_aside(world, gated):
    """Its sessions go on elsewhere rather than wait in its engine's queue."""
    with_slots(world, 1, replicas=3)
    tasks = [gated.ask() for _ in range(4)]
    await until(lambda: len(gated.lanes.opened) == 3 and queue_of(world).is_waiting)

    assert sorted(gated.lanes.opened) == ["r1", "r2", "r3"]
    gated.lanes.gates[1].set()
    await until(lambda: len(gated.lanes.opened) == 4)

    assert gated.lanes.opened[3] == gated.lanes.opened[1]
    for task in tasks:
        task.cancel()


async def test_a_stream_that_goes_on_elsewhere_keeps_its_slot(world):
    """One slot, whichever replica; given back once at the end."""
    with_slots(world, 4, replicas=3)
    lanes = SimulatedLanes(cuts=[Break(events=3)])
    world.use(lanes)
    used = []
    choose = lanes.choose

    async def note(*args, **kwargs):
        used.append(queue_of(world).slots.used)
        return await choose(*args, **kwargs)

    lanes.choose = note
    response = await world.post(CHAT, {**STREAMED, "temperature": 0}, key="acme")

    assert response.status_code == 200 and '"error"' not in response.text
    assert len(lanes.opened) == 2 and set(used) == {1}
    assert is_idle(world) and not world.state.admission.lanes["chat"].replicas.used


async def test_paid_work_hears_of_no_replica_after_free_work_is_shed(world, gated):
    """What waits and what has sent nothing."""
    with_slots(world, 1)
    running = gated.ask("guest")
    await until(lambda: gated.lanes.answers)
    waits = gated.ask("guest")
    await until(lambda: queue_of(world).is_waiting)
    gated.lanes.is_empty = True
    paid = gated.ask("acme")
    await until(lambda: queue_of(world).depths().get("paid"))
    gated.lanes.gates[0].set()

    ends = [await task for task in (running, waits, paid)]

    assert [end.status_code for end in ends] == [200, 429, 503]
    assert is_idle(world)


async def test_without_admission_nothing_waits(world, gated):
    """The engines' own queues are the queues, as before."""
    with_slots(world, 1, enabled=False)
    tasks = [gated.ask() for _ in range(3)]

    await until(lambda: len(gated.lanes.opened) == 3)

    for gate in gated.lanes.gates:
        gate.set()
    assert [(await task).status_code for task in tasks] == [200] * 3


async def test_the_watch_holds_free_work_while_the_engines_are_full(world):
    """Only lanes that have work are asked; a lane that is silent is let go again."""
    with_slots(world, 2)
    asked = []

    async def engine_load(lane):
        asked.append(lane)
        return [{"waiting": 3.0, "kv_utilization": 0.5}]

    lanes = SimpleNamespace(engine_load=engine_load)
    await observe_lanes(world.state.admission, lanes)
    assert asked == []
    queue_of(world).set_level(Level.HOLD, time.monotonic())
    await observe_lanes(world.state.admission, lanes)

    assert asked == ["chat"]
    assert world.state.admission.status()["chat"]["saturation"] == "hold"


async def test_three_times_overloaded_free_clients_are_shed_and_paid_ones_never(world, gated):
    """Four slots, four paid and sixteen free clients with three requests each."""
    with_slots(world, 4, max_queued=6, need_decay_s=0.01)
    refused = []

    async def client(key):
        codes = []
        for _ in range(3):
            response = await world.post(CHAT, ASK, key=key)
            codes.append(response.status_code)
            if response.status_code != 200:
                refused.append(key)
        return codes

    clients = [asyncio.ensure_future(client(k)) for k in ["guest"] * 16 + ["acme"] * 4]
    done = asyncio.gather(*clients)
    while not done.done():
        waiting = [gate for gate in gated.lanes.gates if not gate.is_set()]
        if waiting:
            waiting[0].set()
        await asyncio.sleep(0)
    codes = await done

    assert all(code == 200 for paid in codes[16:] for code in paid)
    assert {code for free in codes[:16] for code in free} == {200, 429}
    assert set(refused) == {"guest"}
    assert world.count("pointsman_shed_total", tier="paid", code="shed") == 0
    assert world.count("pointsman_shed_total", tier="free", code="shed") == len(refused)
    assert is_idle(world)


KV = {"tokens_per_tenant": 40}


def with_kv(world, kv) -> None:
    """The world in which `acme` may hold so many tokens of a lane's KV."""
    tenants = world.tenants.model_dump(exclude_unset=True)
    tenants["tenants"]["acme"]["kv"] = kv
    tenants = TenantsConfig.model_validate(tenants)
    policies = world.state.policies
    auth = type(policies.auth)(tenants, "quality", None)
    world.state.apply(dataclasses.replace(policies, auth=auth))


async def test_a_tenant_over_its_kv_budget_waits_and_others_do_not(world, gated):
    """Slots are empty; its next request starts when its first one has ended."""
    with_slots(world, 8)
    with_kv(world, KV)
    first, second = gated.ask(), gated.ask()
    await until(lambda: gated.lanes.opened and queue_of(world).is_waiting)
    other = gated.ask("root")
    await until(lambda: len(gated.lanes.opened) == 2)

    status = world.state.admission.status()["chat"]
    assert status["over_kv_budget"] == 1 and 0 < status["kv_tokens"] <= 40
    for gate in gated.lanes.gates:
        gate.set()
    await until(lambda: len(gated.lanes.opened) == 3)
    gated.lanes.gates[2].set()

    assert [(await x).status_code for x in (first, second, other)] == [200] * 3
    assert is_idle(world) and world.state.admission.status()["chat"]["kv_tokens"] == 0


async def test_a_stream_that_outgrows_its_reservation_holds_more(world, stream):
    """Five tokens were asked for; here the engine sends nine."""
    with_slots(world, 8)
    with_kv(world, KV)
    gates = [asyncio.Event(), asyncio.Event()]
    answer = stream(gates[0], *[TOKEN] * 9, gates[1], DONE)
    world.lanes.answers = [answer]
    asked = asyncio.ensure_future(world.post(CHAT, STREAMED, key="acme"))
    await until(answer.waits.is_set)
    reserved = world.state.admission.status()["chat"]["kv_tokens"]

    answer.waits.clear()
    gates[0].set()
    await until(answer.waits.is_set)
    held = world.state.admission.status()["chat"]["kv_tokens"]
    gates[1].set()

    assert (await asked).status_code == 200
    assert held == reserved + 4


@pytest.mark.parametrize("path", [CHAT, "/v1/route"])
async def test_a_session_that_would_outgrow_its_kv_is_refused(world, engine, path):
    """400 with both numbers, before anything is reserved; a shorter one is served."""
    with_kv(world, {"tokens_per_session": 200})
    long = {"messages": [{"role": "user", "content": "word " * 300}], "max_tokens": 5}

    refused = await world.post(path, long, key="acme")

    error = refused.json()["error"]
    assert refused.status_code == 400
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
    assert "200 tokens" in error["message"] and "word" not in error["message"]
    world.lanes.answers = [engine()]
    assert (await world.post(CHAT, ASK, key="acme")).status_code == 200
    assert world.reserved() == 0


async def test_counting_tokens_is_no_session(world, engine):
    """Nothing is generated, so nothing stays."""
    with_kv(world, {"tokens_per_session": 10})
    world.lanes.answers = [engine({"input_tokens": 900})]
    body = {"model": "chat", "messages": [{"role": "user", "content": "word " * 300}]}

    answer = await world.post("/v1/messages/count_tokens", body, key="acme")

    assert answer.status_code == 200
