"""The checker of the shed order finds what is there, and nothing else; and catches who cheats."""

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from router.admission.lane_queue import LaneQueue, QueueConfig, no_peers
from router.admission.preemption import Preemption
from router.admission.saturation import Level
from router.admission.shed_order import LAG_S, AdmissionLog, Event, Held, Refusal, Verdict, judge
from router.admission.ticket import SlotRequest, Stage, Tier
from tests.examples import examples

# -- traces -------------------------------------------------------------------

# Tenths of a second, as integers: what is compared below is exact.
times = st.integers(0, 60)
holds = st.lists(st.tuples(times, st.integers(1, 20), st.sampled_from(sorted(Event)[2:])))
traces = st.lists(holds, min_size=1, max_size=3)
LAG = 5
END = 100


def written(held, **bounds):
    """One replica's log of sheddable requests, each held for a while; as its peers read it."""
    events = []
    for number, (begin, length, end) in enumerate(held):
        events += [(begin, 1, number, Event.QUEUED), (begin + length, 0, number, end)]
    log = AdmissionLog(now=0.0, keep_s=END, **bounds)
    # A request that ends makes room before the next one comes.
    for at, _, number, event in sorted(events):
        log.note(at, "chat", number, "free", event, sheddable=True)
    return Held.read("i", log.export(END))


def is_violation(trace, at, lag=LAG):
    """By brute force: some replica held something at every quarter of the window."""
    moments = [at - lag + quarter / 4 for quarter in range(4 * lag + 1)]
    return any(
        all(any(begin <= x < begin + length for begin, length, _ in held) for x in moments)
        # A moment without, however short, is one: somebody came as the last one went.
        and not any(at - lag < gap <= at for gap in gaps(held))
        for held in trace
    )


def gaps(held):
    """Moments at which the last one left, and others came at most at once."""
    ends = {begin + length for begin, length, _ in held}
    return {x for x in ends if not any(b < x < b + length for b, length, _ in held)}


@given(trace=traces, at=times)
def test_the_verdict_is_what_brute_force_finds(trace, at):
    """Whatever overlaps, in however many replicas."""
    logs = [written(held) for held in trace]

    verdict, _ = judge(Refusal(at, "chat", "paid", "shed"), logs, len(trace), LAG)

    assert verdict is (Verdict.VIOLATION if is_violation(trace, at) else Verdict.CLEAR)


@given(trace=traces, at=times, kept=st.integers(1, 30))
def test_a_log_that_has_lost_its_beginning_never_says_what_is_not_so(trace, at, kept):
    """It may only say that it does not know."""
    logs = [written(held, max_events=kept) for held in trace]

    verdict, _ = judge(Refusal(at, "chat", "paid", "shed"), logs, len(trace), LAG)

    if verdict is not Verdict.UNKNOWN:
        assert verdict is (Verdict.VIOLATION if is_violation(trace, at) else Verdict.CLEAR)


@given(trace=traces, refusals=st.lists(times, unique=True), planted=times, data=st.data())
def test_a_planted_violation_is_found_among_refusals_in_order(trace, refusals, planted, data):
    """One, in a replica drawn at random, and no other."""
    index = data.draw(st.integers(0, len(trace) - 1))
    hold = (planted - LAG - data.draw(st.integers(0, 9)), LAG + 20, Event.LEFT)
    trace[index] = [x for x in trace[index] if x[0] + x[1] < hold[0]] + [hold]
    in_order = [at for at in refusals if not is_violation(trace, at)]
    assert planted not in in_order
    logs = [written(held) for held in trace]

    found = [
        at
        for at in [*in_order, planted]
        if judge(Refusal(at, "chat", "paid", "no_replica"), logs, len(trace), LAG)[0]
        is Verdict.VIOLATION
    ]

    assert found == [planted]


# -- queues -------------------------------------------------------------------

PAID = Tier("paid", 0, start_within_s=2.0)
FREE = Tier("free", 10, sheddable=True, min_share=0.25, start_within_s=8.0)
CONFIG = QueueConfig(max_queued=3, need_decay_s=2.0)

steps = st.lists(
    st.tuples(
        st.sampled_from(
            ("paid", "free", "paid", "free", "begin", "end", "leave", "wait", "long", "level")
        ),
        st.integers(0, 1),
        st.integers(0, 7),
    ),
    max_size=40,
)


class World:
    """Two ingress replicas with two slots each of one lane, and their logs."""

    def __init__(self, kind) -> None:
        self.now = 0.0
        self.logs = [AdmissionLog(now=0.0), AdmissionLog(now=0.0)]
        self.tickets = [{}, {}]
        self.queues = [
            kind(CONFIG, 2, lambda: self.sheddable_held_by(1), lambda: self.used(1)),
            kind(CONFIG, 2, lambda: self.sheddable_held_by(0), lambda: self.used(0)),
        ]
        for queue in self.queues:
            queue.set_capacity(2, 0.0, 4)

    def sheddable_held_by(self, ingress):
        return self.queues[ingress].preemption.sheddable_held()

    def used(self, ingress):
        return self.queues[ingress].slots.used

    def running_sheddable(self, ingress):
        return sum(t.tier.sheddable and t.stage is Stage.RUNNING for t in self.tickets[ingress])

    def note(self, ingress, ticket, event):
        # No two events are of one moment.
        self.now += 1e-6
        code = ticket.refused.reason.value if event is Event.REFUSED else ""
        number = self.tickets[ingress].setdefault(ticket, len(self.tickets[ingress]))
        self.logs[ingress].note(
            self.now,
            "chat",
            number,
            ticket.tier.name,
            event,
            sheddable=ticket.tier.sheddable,
            code=code,
        )

    def changed(self, ingress, ticket):
        if ticket.stage is Stage.REFUSED:
            self.note(ingress, ticket, Event.REFUSED)

    def ask(self, ingress, tier):
        self.now += 1e-6
        ticket = self.queues[ingress].submit(SlotRequest(tier, "t", 10), self.now)
        self.note(ingress, ticket, Event.QUEUED)
        self.changed(ingress, ticket)
        ticket.on_change = lambda: self.changed(ingress, ticket)

    def one(self, ingress, index, *stages):
        found = [t for t in self.tickets[ingress] if t.stage in stages]
        return found[index % len(found)] if found else None

    def step(self, what, ingress, index):
        queue = self.queues[ingress]
        if what in ("paid", "free"):
            self.ask(ingress, PAID if what == "paid" else FREE)
        elif what in ("wait", "long"):
            for _ in range(index + 1):
                self.now += 0.3 if what == "wait" else 1.0
                for polled in self.queues:
                    polled.poll(self.now)
        elif what == "level":
            queue.set_level(Level(index % 4), self.now)
        elif what == "begin":
            if (ticket := self.one(ingress, index, Stage.RUNNING)) is not None:
                queue.begin(ticket)
                self.note(ingress, ticket, Event.FIRST_TOKEN)
        else:
            stages = (Stage.WAITING,) if what == "leave" else (Stage.RUNNING, Stage.EVICTED)
            if (ticket := self.one(ingress, index, *stages)) is not None:
                self.note(ingress, ticket, Event.LEFT)
                queue.release(ticket, 1, self.now)


# The first one that is found will do.
FIRST = settings(max_examples=5000, deadline=None, derandomize=True, phases=[Phase.generate])


def verdicts(kind, script, lag_s):
    """Run a script; how often each verdict is given."""
    world = World(kind)
    for what, ingress, index in script:
        world.step(what, ingress, index)
    refusals = [x for log in world.logs for x in log.take_refusals()[0]]
    logs = [Held.read(f"i{i}", log.export(world.now + 1)) for i, log in enumerate(world.logs)]
    given = [judge(refusal, logs, 2, lag_s)[0] for refusal in refusals]
    return {verdict: given.count(verdict) for verdict in Verdict}


@given(script=steps)
@examples(300)
def test_the_queue_never_violates_the_order_even_without_any_lag(script):
    """With peers that are known at every moment."""
    found = verdicts(LaneQueue, script, 0.0)

    assert not found[Verdict.VIOLATION] and not found[Verdict.UNKNOWN]


@given(script=steps)
@examples(500)
def test_slots_that_are_lent_are_not_given_to_sheddable_work(script):
    """Nor does protected work wait while a slot of the lane is empty, wherever."""
    world = World(LaneQueue)
    for what, ingress, index in script:
        before = [world.running_sheddable(0), world.running_sheddable(1)]
        world.step(what, ingress, index)
        used = [world.used(0), world.used(1)]
        # Each may fill its own two, though the other had borrowed them.
        assert sum(used) <= 6
        for here in (0, 1):
            if world.running_sheddable(here) > before[here]:
                assert sum(used) <= 4 or used[here] == 1
        for polled in world.queues:
            polled.poll(world.now)
        waits = any(queue.depths().get("paid") for queue in world.queues)
        assert not waits or world.used(0) + world.used(1) >= 4


class AsksNobody(Preemption):
    """Does not ask the other ingress replicas."""

    def __init__(self, queues, peers) -> None:
        super().__init__(queues, no_peers)


class RefusesAtOnce(Preemption):
    """Refuses protected work when it is late or finds the queue full."""

    def preempt(self, now, grace_s):
        for ticket in list(self._overdue):
            self._queues.refuse(ticket, ticket.overdue, now)
        self._overdue.clear()
        return False


class ForgetsWhatRuns(Preemption):
    """Sheds what waits, but takes no notice of sheddable work before its first token."""

    def preempt(self, now, grace_s):
        begun, self._unbegun = self._unbegun, type(self._unbegun)()
        try:
            return super().preempt(now, grace_s)
        finally:
            self._unbegun = begun


class ForgetsWhatWaits(Preemption):
    """Evicts what runs, but sheds nothing that waits."""

    def shed_all(self, now):
        pass


def cheating(preemption):
    """Build lane queues in which somebody else preempts."""

    def build(config, capacity, peers, elsewhere):
        queue = LaneQueue(config, capacity, peers, elsewhere)
        queue.preemption = preemption(queue.queues, peers)
        return queue

    return build


@pytest.mark.parametrize("broken", [AsksNobody, RefusesAtOnce, ForgetsWhatRuns, ForgetsWhatWaits])
def test_a_queue_that_cheats_is_caught(broken):
    """Within the allowed lag it could still be excused; it is not."""
    script = find(
        steps,
        lambda script: verdicts(cheating(broken), script, LAG_S)[Verdict.VIOLATION],
        settings=FIRST,
    )

    assert not verdicts(LaneQueue, script, LAG_S)[Verdict.VIOLATION]


def test_the_queue_does_refuse_protected_work_in_these_interleavings():
    """Else the property above would say nothing."""
    find(
        steps,
        lambda script: verdicts(LaneQueue, script, 0.0)[Verdict.CLEAR] >= 2,
        settings=FIRST,
    )
