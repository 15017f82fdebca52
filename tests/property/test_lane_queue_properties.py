"""What must always hold of a lane's queue, whatever comes, ends, fails or fills up."""

import itertools

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.admission.fair_queue import OUTPUT_WEIGHT, PROMPT_WEIGHT
from router.admission.kv_budget import KvAsk
from router.admission.lane_queue import LaneQueue, QueueConfig
from router.admission.saturation import Level
from router.admission.ticket import SlotRequest, Stage, Tier
from router.errors import RejectReason
from tests.examples import examples

PAID = Tier("paid", 0, start_within_s=5.0)
PATIENT = Tier("patient", 1)
FREE = Tier("free", 10, sheddable=True, min_share=0.25, start_within_s=8.0)
TRIAL = Tier("trial", 20, sheddable=True, start_within_s=3.0)
# Tokens that a tenant may hold; one has no budget, one less than most requests.
BUDGETS = {"a": None, "b": 900, "c": 120}
CODES = {RejectReason.SHED, RejectReason.DEADLINE_EXCEEDED}


class LaneMachine(RuleBasedStateMachine):
    """Requests of four tiers in one lane; other ingress replicas hold sheddable work or not."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.peers: int | None = 0
        config = QueueConfig(max_queued=6, need_decay_s=4.0)
        self.elsewhere: int | None = 0
        self.lane = LaneQueue(config, 4, lambda: self.peers, lambda: self.elsewhere)
        self.tickets = []
        self.told = []
        self.asked, self.came = {}, {}

    def held(self, *stages):
        return [t for t in self.tickets if t.stage in stages]

    def unbegun(self):
        running = self.held(Stage.RUNNING, Stage.EVICTED)
        return [t for t in running if t.tier.sheddable and not t.has_begun]

    def check_refusal(self, ticket):
        assert ticket.refused.retry_after_s >= 1
        if ticket.refused.reason is RejectReason.TENANT_CONCURRENCY:
            assert BUDGETS[ticket.account.tenant] is not None
            return
        assert ticket.refused.reason in CODES
        if ticket.tier.sheddable:
            return
        # Looked at from outside: what the tickets say, not what the lane counts.
        queued = [t for t in self.held(Stage.WAITING) if t.tier.sheddable]
        assert not queued and not self.unbegun(), "protected work was refused before sheddable work"
        # Where nothing is known of the peers, it waits for its grace at least.
        grace_over = self.now - self.came[ticket] >= self.lane.config.grace_s
        assert self.peers == 0 or (self.peers is None and grace_over), (
            "protected work was refused, though a peer may hold sheddable work"
        )

    def note(self, ticket):
        def changed():
            self.told.append(ticket)
            if ticket.stage is Stage.REFUSED:
                self.check_refusal(ticket)

        return changed

    @rule(
        tier=st.sampled_from((PAID, PATIENT, FREE, TRIAL)),
        tenant=st.sampled_from("abc"),
        prompt=st.integers(1, 500),
        output=st.integers(1, 200),
        copies=st.sampled_from((1, 1, 1, 2, 9)),
        is_background=st.booleans(),
    )
    def a_request_comes(self, tier, tenant, prompt, output, copies, is_background):
        limit = BUDGETS[tenant]
        ask = None if limit is None else KvAsk(limit, prompt, output)
        asked = SlotRequest(tier, tenant, prompt, copies, kv=ask, is_background=is_background)
        ticket = self.lane.submit(asked, self.now)
        self.asked[ticket], self.came[ticket] = prompt + output, self.now
        self.tickets.append(ticket)
        if ticket.stage is Stage.REFUSED:
            self.check_refusal(ticket)
        ticket.on_change = self.note(ticket)

    @precondition(lambda self: self.held(Stage.RUNNING))
    @rule(data=st.data(), tokens=st.integers(1, 300))
    def a_request_delivers(self, data, tokens):
        ticket = data.draw(st.sampled_from(self.held(Stage.RUNNING)))
        self.lane.begin(ticket)
        ticket.deliver(ticket.charged_tokens + tokens)

    @precondition(lambda self: self.held(Stage.RUNNING, Stage.EVICTED, Stage.WAITING))
    @rule(data=st.data(), tokens=st.integers(0, 300), twice=st.booleans())
    def a_request_ends_fails_or_is_left(self, data, tokens, twice):
        held = self.held(Stage.RUNNING, Stage.EVICTED, Stage.WAITING)
        ticket = data.draw(st.sampled_from(held))
        self.lane.release(ticket, tokens, self.now)
        if twice:
            self.lane.release(ticket, tokens, self.now)

    @rule(gap=st.sampled_from((0.0, 0.1, 1.0, 4.0, 10.0)))
    def time_passes(self, gap):
        self.now += gap
        self.lane.poll(self.now)

    @rule(level=st.sampled_from(Level))
    def the_lane_fills_or_empties(self, level):
        self.lane.set_level(level, self.now)

    @rule(peers=st.sampled_from((0, 0, 3, None)))
    def the_peers_say(self, peers):
        self.peers = peers

    @rule(elsewhere=st.sampled_from((0, 1, 4, 9, None)))
    def the_peers_take_or_leave_slots(self, elsewhere):
        self.elsewhere = elsewhere
        self.lane.poll(self.now)

    @rule(capacity=st.sampled_from((1, 2, 4, 8)), has_peers=st.booleans())
    def replicas_come_or_go(self, capacity, has_peers):
        lane = 2 * capacity if has_peers else None
        self.lane.set_capacity(capacity, self.now, lane)

    @rule()
    def no_replica_serves(self):
        if self.lane.preemption.drain_sheddable(self.now):
            assert self.peers == 0
        assert not [t for t in self.held(Stage.WAITING) if t.tier.sheddable]

    @invariant()
    def slots_are_conserved(self):
        running = self.held(Stage.RUNNING, Stage.EVICTED)
        assert self.lane.slots.used == sum(t.cost for t in running)
        by_tier = {p.tier.name: p.running for p in self.lane.queues.in_order}
        for name, count in by_tier.items():
            assert count == sum(t.cost for t in running if t.tier.name == name)

    @invariant()
    def every_waiting_request_is_in_the_queue_and_no_other(self):
        waiting = self.held(Stage.WAITING)
        assert sum(self.lane.depths().values()) == len(waiting) == self.lane.queues.waiting
        assert self.lane.preemption.sheddable_held() >= sum(t.tier.sheddable for t in waiting)
        for part in self.lane.queues.in_order:
            part.queue.check()

    @invariant()
    def no_sheddable_request_outlives_its_deadline_in_the_queue(self):
        self.lane.poll(self.now)
        for ticket in self.held(Stage.WAITING):
            if ticket.deadline <= self.now:
                assert not ticket.tier.sheddable
                # Late protected work waits for sheddable work to go, or for the peers' word.
                assert self.unbegun() or self.peers != 0
                sheddable = [t for t in self.held(Stage.WAITING) if t.tier.sheddable]
                assert not sheddable or self.held(Stage.EVICTED)

    @invariant()
    def who_is_first_waits_only_while_it_does_not_fit(self):
        waiting = [t for t in self.held(Stage.WAITING) if not self.is_held_back(t)]
        if waiting:
            first = min(t.tier.priority for t in waiting)
            if first <= PATIENT.priority:
                part = next(p for p in self.lane.queues.in_order if p.tier.priority == first)
                slots, cost = self.lane.slots, part.queue.peek().cost
                assert not slots.fits(cost)
                # Nor is anything to be had of the others'.
                assert self.elsewhere is None or not slots.are_empty(cost, self.elsewhere)
            assert self.lane.next_at(self.now) is not None or first == PATIENT.priority

    def is_held_back(self, ticket):
        return ticket in self.lane.queues.part_of(ticket).held_back

    @invariant()
    def kv_tokens_are_conserved_and_within_the_budget(self):
        held_back = [t for t in self.held(Stage.WAITING) if self.is_held_back(t)]
        alive = self.held(Stage.WAITING, Stage.RUNNING, Stage.EVICTED)
        let_in = [t for t in alive if t.hold is not None and t not in held_back]
        assert self.lane.kv.tokens == sum(t.hold.tokens for t in let_in)
        assert self.lane.kv.waiting == len(held_back)
        for tenant, limit in BUDGETS.items():
            mine = [self.asked[t] for t in let_in if t.account.tenant == tenant]
            # An answer that grows past its reservation is not stopped; a request larger
            # than the budget runs alone.
            assert len(mine) <= 1 or sum(mine) <= limit
            # Who is held back has somebody before it that will end.
            assert mine or not [t for t in held_back if t.account.tenant == tenant]

    @invariant()
    def a_tenant_s_own_requests_keep_their_order(self):
        for tenant in BUDGETS:
            mine = [t for t in self.held(Stage.WAITING) if t.account.tenant == tenant]
            back = [self.is_held_back(t) for t in mine]
            assert back == sorted(back)

    @invariant()
    def the_queue_is_bounded(self):
        waiting = self.held(Stage.WAITING)
        assert len([t for t in waiting if t.overdue is None]) <= 6

    def teardown(self):
        """When the lane is served again, nobody is left waiting."""
        self.peers = self.elsewhere = 0
        self.lane.set_level(Level.NORMAL, self.now)
        for _ in range(4 * len(self.tickets) + 4):
            for ticket in self.held(Stage.RUNNING, Stage.EVICTED):
                self.lane.release(ticket, 1, self.now)
            self.now += 1.0
            self.lane.poll(self.now)
        assert not self.held(Stage.WAITING)
        assert self.lane.slots.used == 0 and self.lane.preemption.sheddable_held() == 0
        assert self.lane.kv.tokens == 0 and not self.lane.kv._accounts


LaneMachine.TestCase.settings = examples(80, stateful_step_count=40)
TestLane = LaneMachine.TestCase

MAX_PROMPT, MAX_OUTPUT = 400, 60
lengths = st.lists(
    st.tuples(st.integers(1, MAX_PROMPT), st.integers(1, MAX_OUTPUT)), min_size=1, max_size=6
)


def served(lane_slots, asked, weights, steps, random):
    """Service of two tenants that always have a request waiting, after each token."""
    lane = LaneQueue(QueueConfig(), lane_slots)
    tier = Tier("paid")
    streams = {name: itertools.cycle(asked[name]) for name in asked}
    sizes, running, service = {}, [], dict.fromkeys(asked, 0.0)

    def ask(name):
        prompt, output = next(streams[name])
        ticket = lane.submit(SlotRequest(tier, name, prompt, weight=weights[name]), 0.0)
        sizes[ticket] = (name, prompt, output)
        ticket.on_change = lambda: start(ticket)
        if ticket.stage is Stage.RUNNING:
            start(ticket)

    def start(ticket):
        name, prompt, _ = sizes[ticket]
        running.append(ticket)
        service[name] += PROMPT_WEIGHT * prompt / weights[name]
        ask(name)

    # Slots are taken by a third tenant until both wait.
    blockers = [lane.submit(SlotRequest(tier, "other", 1), 0.0) for _ in range(lane_slots)]
    # Two of each: one still waits while the other starts.
    for name in 2 * list(asked):
        ask(name)
    for blocker in blockers:
        lane.release(blocker, 0, 0.0)
    history = [dict(service)]
    for _ in range(steps):
        ticket = random.choice(running)
        name, _, output = sizes[ticket]
        ticket.deliver(ticket.charged_tokens + 1)
        service[name] += OUTPUT_WEIGHT / weights[name]
        if ticket.charged_tokens >= output:
            running.remove(ticket)
            lane.release(ticket, output, 0.0)
        history.append(dict(service))
    return history


@given(
    slots=st.integers(1, 4),
    asked=st.fixed_dictionaries({"a": lengths, "b": lengths}),
    weight=st.sampled_from((1.0, 1.0, 3.0)),
    random=st.randoms(use_true_random=False),
)
@examples(60)
def test_two_tenants_that_always_wait_get_the_same_service_within_vtc_s_bound(
    slots, asked, weight, random
):
    """Over any interval, 2 max(w_p L, w_q M), whatever their requests look like."""
    weights = {"a": weight, "b": 1.0}

    history = served(slots, asked, weights, 400, random)

    in_engines = slots * (MAX_PROMPT + MAX_OUTPUT)
    bound = 2 * max(PROMPT_WEIGHT * MAX_PROMPT, OUTPUT_WEIGHT * in_engines)
    ahead = [point["a"] - point["b"] for point in history]
    assert max(ahead) - min(ahead) <= bound
