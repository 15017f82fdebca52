"""Two ingress replicas and a ledger between them, in one process: delays, drops, death."""

import asyncio
import dataclasses
import time
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from router.admission.saturation import Level
from router.admission.ticket import SlotRequest, Stage, Tier
from router.errors import Rejected, RejectReason
from router.leases.holder import SLICE
from router.leases.ledger import Ledger
from router.leases.messages import LaneReport
from router.limits.reservation import Reckoning
from serve_app.config.admission import LedgerConfig
from serve_app.config.lane import LaneConfig
from serve_app.config.tenants import TenantsConfig
from serve_app.leases.lease_sync import LeaseSync
from serve_app.leases.metrics import LedgerMetrics
from serve_app.pipeline.reserving import Reserving
from serve_app.pipeline.state import IngressState
from serve_app.request.metering import Metering
from tests.unit.serve_app.conftest import FLEET

CHAT = "/v1/chat/completions"
ASK = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 500}
PAID, FREE = Tier("paid", 0, start_within_s=0.0), Tier("free", 10, sheddable=True)
LIMITS = {
    "tokens_per_second": 500,
    "tokens_per_minute": 10_000,
    "requests_per_minute": 600,
    "concurrent_requests": 4,
}


class Wire:
    """The way to a ledger: it may be cut, or the ledger dead."""

    def __init__(self, terms) -> None:
        self.terms = terms
        self.ledger = Ledger(1, terms, learning_until=0.0, is_first=True)
        self.is_cut = self.is_lost = self.is_replaced = False
        self.calls = 0

    async def exchange(self, wire):
        from router.leases.messages import Report

        self.calls += 1
        if self.is_cut:
            raise ConnectionError
        if self.is_replaced:
            return None
        answer = self.ledger.exchange(Report.from_wire(wire), now=time.monotonic())
        await asyncio.sleep(0)
        if self.is_lost:
            raise TimeoutError
        return None if answer is None else answer.to_wire()


@pytest.fixture
def pair(world):
    """Two ingress replicas' states over one ledger; `chat` has two slots for each."""
    tiers = {"paid": {"ceilings": LIMITS}, "paced": {}, "local": {}}
    tiers["free"] = {"priority": 10, "sheddable": True}
    given = world.tenants.model_dump(exclude_unset=True)
    tenants = TenantsConfig.model_validate({**given, "tiers": tiers})
    chat = LaneConfig(**{**FLEET["lanes"]["chat"], "engine_args": {"max_num_seqs": 4}})
    policies = world.state.policies
    fleet = policies.fleet.model_copy(
        update={
            "lanes": {**policies.fleet.lanes, "chat": chat},
            "ingress": policies.fleet.ingress.model_copy(update={"replicas": 2}),
        }
    )
    auth = type(policies.auth)(tenants, "quality", None)
    policies = dataclasses.replace(policies, fleet=fleet, auth=auth)
    wire = Wire(fleet.ledger.terms(2))
    states = []
    for name in ("i1", "i2"):
        state = IngressState(policies, "s3", name)
        metrics = LedgerMetrics(CollectorRegistry())
        state.leases = LeaseSync(
            state.lease_holder, state.admission, wire.exchange, fleet.ledger, metrics
        )
        states.append(state)
    tenant = auth.identify(world.keys["acme"], is_local=False)
    return SimpleNamespace(
        wire=wire, states=states, tenant=tenant, tenants=tenants, policies=policies
    )


async def beat(pair, times=1):
    for _ in range(times):
        for state in pair.states:
            await state.leases.beat()


def queue_of(state):
    return state.admission.lanes["chat"].queue


async def test_one_ingress_with_all_the_demand_gets_the_whole_minute(pair):
    """Nearly: the safe capacities of the others stay theirs."""
    here = pair.states[0]
    ceiling = here.ceiling(pair.tenant)
    refused = ceiling.try_admit(9_000, now=time.monotonic())
    assert isinstance(refused, Rejected)
    assert ceiling.is_short(9_000, now=time.monotonic())

    await beat(pair)

    assert not isinstance(ceiling.try_admit(9_000, now=time.monotonic()), Rejected)
    state = ceiling.tokens_state(now=time.monotonic())
    assert state.limit == 10_000
    assert state.remaining == pytest.approx(600, abs=100)
    # The other one hears what is left of the one limit.
    there = pair.states[1].ceiling(pair.tenant)
    await beat(pair)
    assert there.tokens_state(now=time.monotonic()).remaining < 1_000
    assert isinstance(there.try_admit(5_000, now=time.monotonic()), Rejected)
    assert not there.is_short(5_000, now=time.monotonic())


async def test_a_request_waits_for_a_lease_instead_of_a_429(world, pair, engine):
    """The first one of a tenant here, with no lease yet: one round trip, then an answer."""
    here = pair.states[0]
    # The hundredth of the minute that is its own is not enough for this request.
    world.use(world.lanes, state=here)
    world.lanes.answers = [engine()]
    sync = asyncio.ensure_future(here.leases.run())
    try:
        response = await world.post(CHAT, ASK, key="acme")
    finally:
        sync.cancel()

    assert response.status_code == 200
    assert response.headers["x-ratelimit-limit-tokens"] == "10000"
    assert int(response.headers["x-ratelimit-remaining-tokens"]) > 9_000
    assert here.reserved_tokens() == 0
    assert here.ceiling(pair.tenant).running == 0


async def test_without_a_ledger_a_tenant_with_limits_is_refused_at_once(world, pair):
    """Closed: no lease, no safe capacity, and nobody waits for an answer that does not come."""
    here = pair.states[0]
    pair.wire.is_cut = True
    await here.leases.beat()
    world.use(world.lanes, state=here)

    response = await world.post(CHAT, ASK, key="acme")

    assert response.status_code == 429
    assert response.json()["error"]["code"] in {"token_rate", "request_rate", "tenant_concurrency"}
    assert float(response.headers["retry-after"]) > 0


async def test_who_is_refused_by_the_whole_limit_does_not_wait(pair):
    """Only what a larger lease would let in does."""
    here = pair.states[0]
    ceiling = here.ceiling(pair.tenant)
    await beat(pair)
    ceiling.try_admit(9_000, now=time.monotonic())
    await beat(pair)
    ceiling.try_admit(9_000, now=time.monotonic())
    refused = ceiling.refusal(9_000, now=time.monotonic())

    assert not await here.may_grow(ceiling, refused, 9_000, time.monotonic())
    quota = Rejected(RejectReason.TOKEN_QUOTA, "", 1.0)
    assert not await here.may_grow(ceiling, quota, 1, time.monotonic())
    # Nor does anyone past his time, or where nothing is leased.
    assert not await here.may_grow(ceiling, refused, 1, time.monotonic() - 10)
    here.leases = None
    assert not await here.may_grow(ceiling, refused, 1, time.monotonic())


async def test_who_waits_for_a_lease_waits_for_a_few_heartbeats_at_most(pair):
    """Nobody beats here."""
    here = pair.states[0]
    ceiling = here.ceiling(pair.tenant)
    await beat(pair)
    refused = Rejected(RejectReason.TOKEN_RATE, "", 1.0)
    here.leases._config = LedgerConfig(heartbeat_s=0.05)

    assert not await here.may_grow(ceiling, refused, 5_000, time.monotonic() - 0.15)


async def test_a_dry_run_counts_on_the_next_lease_while_there_is_a_session(pair):
    """As a request does, which would wait for it."""
    here = pair.states[0]
    large, small = Reckoning(9_000, 9_000, 9_000), Reckoning(1, 1, 1)
    reserving, call = Reserving(here, Metering()), SimpleNamespace(tenant=pair.tenant)

    def would_admit(cost) -> bool:
        return reserving.would_admit(call, SimpleNamespace(lane="chat", cost=cost))

    assert not would_admit(large)
    await beat(pair)

    assert would_admit(large)
    assert would_admit(small)


async def test_permits_go_where_the_requests_are(pair):
    """Four at once, all on one ingress replica; then none is left for the other."""
    here, there = (state.ceiling(pair.tenant) for state in pair.states)
    await beat(pair)
    taken = []
    for _ in range(8):
        outcome = here.try_admit(10, now=time.monotonic())
        if not isinstance(outcome, Rejected):
            taken.append(outcome)
        await beat(pair)

    assert len(taken) == 4
    refused = there.try_admit(10, now=time.monotonic())
    assert refused.reason is RejectReason.TENANT_CONCURRENCY
    assert not there.is_short(10, now=time.monotonic())
    here.settle(taken[0], 10, now=time.monotonic())
    for _ in range(3):
        # Whoever waits asks again after each answer.
        if not isinstance(there.try_admit(10, now=time.monotonic()), Rejected):
            break
        await beat(pair)
    assert there.running == 1
    assert isinstance(there.try_admit(10, now=time.monotonic()), Rejected)


async def test_late_paid_work_takes_the_slots_that_the_others_leave(pair):
    """A slot of the lane is empty: nobody is refused."""
    here, there = pair.states
    await beat(pair)
    now = time.monotonic()
    theirs = [
        queue_of(there).submit(SlotRequest(Tier("big", 0), "acme", 10), now) for _ in range(2)
    ]
    ours = [queue_of(here).submit(SlotRequest(Tier("big", 0), "acme", 10), now) for _ in range(2)]
    await beat(pair, 2)
    waits = queue_of(here).submit(SlotRequest(Tier("big", 0), "acme", 10), now)
    assert {t.stage for t in theirs + ours} == {Stage.RUNNING} and waits.stage is Stage.WAITING

    queue_of(there).release(theirs[0], 1, time.monotonic())
    await beat(pair)
    await here.leases.beat()
    queue_of(here).poll(time.monotonic())

    assert waits.stage is Stage.RUNNING


async def test_paid_work_is_refused_only_when_the_other_has_let_its_free_work_go(pair):
    """The other is told to; its free work, queued or before its first token, goes."""
    here, there = pair.states
    await beat(pair)
    now = time.monotonic()
    running = [queue_of(there).submit(SlotRequest(FREE, "guest", 10), now) for _ in range(2)]
    waiting = queue_of(there).submit(SlotRequest(FREE, "guest", 10), now)
    assert [t.stage for t in running] == [Stage.RUNNING] * 2
    await there.leases.beat()
    for _ in range(2):
        queue_of(here).submit(SlotRequest(Tier("big", 0), "acme", 10), now)
    await here.leases.beat()
    late = queue_of(here).submit(SlotRequest(PAID, "acme", 10), now)
    queue_of(here).poll(time.monotonic())

    assert (late.stage, queue_of(here).preemption.wants_preemption(time.monotonic())) == (
        Stage.WAITING,
        True,
    )
    await beat(pair)
    assert waiting.stage is Stage.REFUSED
    assert [t.stage for t in running] == [Stage.EVICTED] * 2
    refused = queue_of(there).submit(SlotRequest(FREE, "guest", 10), time.monotonic())
    assert refused.stage is Stage.REFUSED
    await here.leases.beat()
    queue_of(here).poll(time.monotonic())
    assert late.stage is Stage.WAITING
    for ticket in running:
        queue_of(there).release(ticket, 0, time.monotonic())
    # Else the late one would have their slots.
    theirs = [
        queue_of(there).submit(SlotRequest(Tier("big", 0), "acme", 10), time.monotonic())
        for _ in range(2)
    ]
    await beat(pair)
    await here.leases.beat()
    queue_of(here).poll(time.monotonic())

    assert late.stage is Stage.REFUSED
    assert here.admission.unconfirmed()["chat"] == 0
    # Nobody waits here any more: free work may come again there.
    await beat(pair)
    await there.leases.beat()
    queue_of(there).release(theirs[0], 1, time.monotonic())
    # Once what paid work needed is forgotten.
    again = queue_of(there).submit(SlotRequest(FREE, "guest", 10), time.monotonic() + 10)
    assert again.stage is Stage.RUNNING


async def test_without_the_ledger_paid_work_waits_for_its_grace_and_no_longer(pair):
    """What the others hold is not known then."""
    here, there = pair.states
    now = time.monotonic()
    for queue in (queue_of(here), queue_of(there)):
        for _ in range(2):
            queue.submit(SlotRequest(Tier("big", 0), "acme", 10), now)
    await beat(pair, 2)
    pair.wire.is_cut = True
    late = queue_of(here).submit(SlotRequest(PAID, "acme", 10), now)
    grace_s = pair.policies.fleet.ledger.grace_s
    # An answer that is older than this says nothing.
    here.lease_holder._lanes.clear()
    queue_of(here).poll(now)
    queue_of(here).poll(now + grace_s - 0.1)
    assert late.stage is Stage.WAITING

    queue_of(here).poll(now + grace_s + 0.1)

    assert late.stage is Stage.REFUSED
    assert here.admission.unconfirmed()["chat"] == 1
    here.leases.refresh_gauges()


async def test_without_a_session_free_work_makes_way(pair):
    """Who waits elsewhere for it waits no longer than a lease."""
    here = pair.states[0]
    await beat(pair)
    now = time.monotonic()
    held = queue_of(here).submit(SlotRequest(FREE, "guest", 10), now)
    here.lease_holder.expiry.lease_until = now - 1
    pair.wire.is_cut = True

    await here.leases.beat()

    assert held.stage is Stage.EVICTED
    assert not here.lease_holder.has_session(time.monotonic())
    queue_of(here).release(held, 0, time.monotonic())
    pair.wire.is_cut = False
    await here.leases.beat()
    assert (
        queue_of(here).submit(SlotRequest(FREE, "guest", 10), time.monotonic()).stage
        is Stage.RUNNING
    )


async def test_answers_that_are_lost_or_of_a_replaced_ledger_do_not_count(pair):
    """The lease goes on as it was; what the lost answer handed out is not spent."""
    here = pair.states[0]
    ceiling = here.ceiling(pair.tenant)
    ceiling.try_admit(5_000, now=time.monotonic())
    pair.wire.is_lost = True
    assert not await here.leases.beat()
    assert isinstance(ceiling.try_admit(5_000, now=time.monotonic()), Rejected)
    pair.wire.is_lost, pair.wire.is_replaced = False, True
    assert not await here.leases.beat()
    pair.wire.is_replaced = False
    # A refusal says anew what is needed: the last report got no answer.
    ceiling.try_admit(5_000, now=time.monotonic())
    assert await here.leases.beat()

    assert not isinstance(ceiling.try_admit(5_000, now=time.monotonic()), Rejected)
    assert ceiling.tokens_state(now=time.monotonic()).remaining == pytest.approx(4_600, abs=50)


def reloaded(pair, state, ceilings):
    """The tenants file with other ceilings for the tier `paid`."""
    given = pair.tenants.model_dump(exclude_unset=True)
    given["tiers"]["paid"] = {"ceilings": ceilings}
    auth = type(pair.policies.auth)(TenantsConfig.model_validate(given), "quality", None)
    state.apply(dataclasses.replace(pair.policies, auth=auth))


async def test_a_reload_changes_limits_in_place(pair):
    """What is reserved stays counted."""
    here = pair.states[0]
    ceiling = here.ceiling(pair.tenant)
    ceiling.try_admit(5_000, now=time.monotonic())
    await beat(pair)
    held = ceiling.try_admit(5_000, now=time.monotonic())
    reloaded(pair, here, LIMITS | {"tokens_per_minute": 20_000})

    # Whoever asks: this one was identified before the file was read again.
    same = here.ceiling(pair.tenant)

    assert same is ceiling
    assert same.reserved == 5_000
    same.settle(held, 10, now=time.monotonic())
    assert same.tokens_state(now=time.monotonic()).limit == 20_000
    assert here.tenants_near_limit() == []
    # And without any, there is nothing to lease.
    reloaded(pair, here, {})
    assert here.ceiling(pair.tenant).limits_nothing
    assert here.ceiling(pair.tenant).pacer is None


async def test_the_status_says_how_old_the_lease_is(world, pair):
    """And metrics, in the ingress replica's own registry."""
    here = pair.states[0]
    before = here.ledger_status()
    assert (before["epoch"], before["answer_age_s"], before["has_session"]) == (0, None, False)
    await beat(pair)

    status = here.ledger_status()

    assert status["epoch"] == 1
    assert 9 < status["lease_left_s"] <= 9.8
    assert status["has_seat"]
    assert world.state.ledger_status() is None


def test_a_lane_is_contended_by_what_runs_and_waits_everywhere(pair):
    """Unknown counts as contended; so does a saturated lane."""
    here = pair.states[0]
    assert here.contentions.of("chat", 9).is_contended
    sent = time.monotonic()
    lanes = {"chat": LaneReport(running=1, waiting=1)}
    for name, running in (("i2", lanes), ("i1", {"chat": LaneReport()})):
        holder = here.lease_holder if name == "i1" else pair.states[1].lease_holder
        answer = pair.wire.ledger.exchange(holder.report(running, now=sent), now=sent)
        holder.apply(answer, now=sent)

    assert not here.contentions.of("chat", 4).is_contended
    assert here.contentions.of("chat", 2).is_contended
    assert not here.contentions.of("chat", 3).is_contended
    queue_of(here).level = Level.HOLD
    here.contentions.observe()
    assert here.contentions.of("chat", 4).is_contended


def test_wrong_terms_are_refused():
    """Each with what would be right."""
    with pytest.raises(ValueError, match="two heartbeats"):
        LedgerConfig(heartbeat_s=0.4)
    with pytest.raises(ValueError, match="between four heartbeats"):
        LedgerConfig(lease_s=100)
    with pytest.raises(ValueError, match="longer than lease_s"):
        LedgerConfig(grace_s=5)


async def test_the_event_loop_goes_on_between_slices_of_a_heartbeat(pair):
    """Many active tenants do not hold streams up."""
    here, turns = pair.states[0], 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    for number in range(3 * SLICE + 5):
        tenant = dataclasses.replace(pair.tenant, name=f"t{number}")
        here.ceiling(tenant).try_admit(300, now=time.monotonic())
    beside = asyncio.ensure_future(other())
    assert await here.leases.beat()
    beside.cancel()

    assert turns >= 6
    assert here.ledger_status()["tenants"] == 3 * SLICE + 5


async def test_heartbeats_hurry_while_paid_work_waits(pair):
    """What peers hold is asked for more often then."""
    here = pair.states[0]
    pair.wire.ledger = Ledger(2, pair.wire.terms, learning_until=float("inf"))
    await here.leases.beat()
    assert not here.leases.is_pressed
    now = time.monotonic()
    for _ in range(2):
        queue_of(here).submit(SlotRequest(Tier("big", 0), "acme", 10), now)
    late = queue_of(here).submit(SlotRequest(PAID, "acme", 10), now)
    queue_of(here).poll(now)

    await here.leases.beat()

    assert here.leases.is_pressed
    assert late.stage is Stage.WAITING


async def test_the_heart_beats_on_whatever_becomes_of_one(pair):
    """A cut wire is tried again."""
    here = pair.states[0]
    pair.wire.is_cut = True
    task = asyncio.ensure_future(here.leases.run())
    async with asyncio.timeout(10):
        while pair.wire.calls < 2:  # noqa: ASYNC110 - there is no one event for it
            await asyncio.sleep(0.01)
        assert here.lease_holder.epoch == 0
        pair.wire.is_cut = False
        while not here.lease_holder.epoch:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    task.cancel()


@pytest.mark.parametrize(("ingresses", "share"), [(2, 0.01), (8, 0.0025), (32, 0.000625)])
def test_all_safe_capacities_are_the_same_part_of_a_limit(ingresses, share):
    """However many replicas there are; what is set is taken as it is."""
    terms = LedgerConfig().terms(ingresses)

    assert (terms.seats, terms.safe_share) == (2 * ingresses, pytest.approx(share))
    assert terms.leased == pytest.approx(0.96)
    assert LedgerConfig(safe_share=0.002).terms(ingresses).safe_share == 0.002
