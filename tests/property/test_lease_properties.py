"""What must always hold of leases, whatever is lost, late, dead or replaced."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.leases.holder import LeaseHolder
from router.leases.leased_ceiling import LeasedCeiling
from router.leases.ledger import Ledger
from router.leases.messages import DRIFT, Answer, LaneReport, LeaseTerms, Report
from router.limits.bucket import MINUTE_S
from router.limits.ceiling import CeilingConfig
from router.limits.reservation import Reservation
from tests.examples import examples
from tests.unit.router.limits.paced import delay

TERMS = LeaseTerms(lease_s=2.0, seat_s=6.0, seats=3, safe_share=0.02, stale_s=0.5)
RATE, TOKENS, REQUESTS, PERMITS = 80.0, 6_000.0, 6_000.0, 40
CONFIG = CeilingConfig(RATE, TOKENS, REQUESTS, PERMITS)
TENANTS = ("acme", "other")
TINY = 1e-6

gaps = st.one_of(st.just(0.0), st.floats(0.0, 0.3), st.floats(0.0, 3.0), st.floats(0.0, 90.0))
which = st.integers(0, 3)


class Ingress:
    """A holder, the report it has under way, and what it has admitted."""

    def __init__(self, name: str) -> None:
        self.holder = LeaseHolder(name, TERMS)
        self.open: list[tuple[LeasedCeiling, str, Reservation, float]] = []


class LeaseMachine(RuleBasedStateMachine):
    """Ingress replicas come, report, die; messages are lost or late; ledgers are replaced.

    Two ledgers may be alive; only the one with the highest epoch in the store answers, and
    each stores how long its grants may last before it makes any.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.ingresses = [Ingress("i0"), Ingress("i1")]
        self.made = 2
        self.epoch = 1
        self.granted_until = 0.0
        self.noted: frozenset[str] = frozenset()
        self.ledgers = [Ledger(1, TERMS, learning_until=0.0, is_first=True)]
        self.reports: list[tuple[Ingress, Report]] = []
        self.answers: list[tuple[Ingress, Answer]] = []
        # (time, tenant, tokens): charged; negative when given back.
        self.spent: list[tuple[float, str, float]] = []
        self.reserved = self.settled = self.released = 0

    # -- time and faults ------------------------------------------------------

    @rule(gap=gaps)
    def time_passes(self, gap):
        self.now += gap

    @precondition(lambda self: len(self.ingresses) < 4)
    @rule()
    def an_ingress_starts(self):
        self.ingresses.append(Ingress(f"i{self.made}"))
        self.made += 1

    @precondition(lambda self: len(self.ingresses) > 1)
    @rule(index=which)
    def an_ingress_dies(self, index):
        self.ingresses.pop(index % len(self.ingresses))

    @rule()
    def a_new_ledger_starts(self):
        self.epoch += 1
        self.ledgers.append(
            Ledger(self.epoch, TERMS, learning_until=self.granted_until, awaited=self.noted)
        )
        del self.ledgers[:-2]

    # -- messages ---------------------------------------------------------------

    @rule(index=which)
    def a_report_is_sent(self, index):
        ingress = self.ingresses[index % len(self.ingresses)]
        report = ingress.holder.report({"chat": LaneReport()}, now=self.now)
        self.reports.append((ingress, Report.from_wire(report.to_wire())))

    @precondition(lambda self: self.reports)
    @rule(data=st.data(), is_lost=st.booleans(), which_ledger=which)
    def a_report_arrives(self, data, is_lost, which_ledger):
        index = data.draw(st.integers(0, len(self.reports) - 1))
        ingress, report = self.reports.pop(index)
        ledger = self.ledgers[which_ledger % len(self.ledgers)]
        if ledger.epoch != self.epoch:
            # Fenced: the store has a higher epoch.
            return
        self.note(ledger, report)
        answer = ledger.exchange(report, now=self.now)
        if answer is not None and not is_lost:
            self.answers.append((ingress, Answer.from_wire(answer.to_wire())))

    def note(self, ledger, report):
        """What the store keeps for the next ledger, before the answer."""
        self.granted_until = max(self.granted_until, self.now + TERMS.lease_s)
        self.noted = ledger.known(now=self.now) | {report.holder}

    @precondition(lambda self: self.answers)
    @rule(data=st.data())
    def an_answer_arrives(self, data):
        index = data.draw(st.integers(0, len(self.answers) - 1))
        ingress, answer = self.answers.pop(index)
        ingress.holder.apply(answer, now=self.now)

    @rule(index=which)
    def a_heartbeat(self, index):
        self.beat(self.ingresses[index % len(self.ingresses)])

    def beat(self, ingress):
        report = ingress.holder.report({}, now=self.now)
        self.note(self.ledgers[-1], report)
        answer = self.ledgers[-1].exchange(report, now=self.now)
        if answer is not None:
            ingress.holder.apply(answer, now=self.now)

    @rule(index=which, beats=st.lists(which, max_size=5), gap=st.floats(0.0, 0.2))
    def an_answer_is_late(self, index, beats, gap):
        """The ledger took the report; others beat, and the demand is elsewhere by then."""
        ingress = self.ingresses[index % len(self.ingresses)]
        self.book(ingress, "acme", 500)
        report = ingress.holder.report({}, now=self.now)
        self.note(self.ledgers[-1], report)
        answer = self.ledgers[-1].exchange(report, now=self.now)
        for other in beats:
            self.now += gap
            beating = self.ingresses[other % len(self.ingresses)]
            self.book(beating, "acme", 300)
            self.beat(beating)
        if answer is not None:
            ingress.holder.apply(answer, now=self.now)

    @rule(
        beats=st.lists(which, max_size=8),
        tokens=st.sampled_from((400, 2_000, 5_000)),
        is_lost=st.booleans(),
    )
    def a_tenant_hammers(self, beats, tokens, is_lost):
        """Everything that can be had is taken, wherever it is."""
        for index in beats:
            ingress = self.ingresses[index % len(self.ingresses)]
            self.ask(ingress, "acme", tokens)
            if is_lost:
                report = ingress.holder.report({}, now=self.now)
                self.note(self.ledgers[-1], report)
                self.ledgers[-1].exchange(report, now=self.now)
                self.ask(ingress, "acme", tokens)
            self.beat(ingress)
            self.ask(ingress, "acme", tokens)

    @rule(index=which, other=which, tokens=st.sampled_from((400, 2_000, 5_000)))
    def what_is_given_back_is_told_and_the_answer_lost(self, index, other, tokens):
        ingress = self.ingresses[index % len(self.ingresses)]
        self.ask(ingress, "acme", tokens)
        self.beat(ingress)
        self.ask(ingress, "acme", tokens)
        self.end(ingress, -1, 0)
        self.a_heartbeat(other)
        report = ingress.holder.report({}, now=self.now)
        self.note(self.ledgers[-1], report)
        self.ledgers[-1].exchange(report, now=self.now)
        self.a_heartbeat(other)
        self.ask(ingress, "acme", tokens)

    @rule(index=which, idle_s=st.floats(5.0, 15.0), asks=which)
    def a_tenant_is_quiet_and_comes_back_to_a_new_ledger(self, index, idle_s, asks):
        ingress = self.ingresses[index % len(self.ingresses)]
        self.a_tenant_hammers([index], 5_000, is_lost=False)
        for at in range(len(ingress.open) - 1, -1, -1):
            self.end(ingress, at, ingress.open[at][2].tokens)
        for _ in range(12):
            self.now += idle_s / 12
            for beating in self.ingresses:
                self.beat(beating)
        self.a_new_ledger_starts()
        self.ask(self.ingresses[asks % len(self.ingresses)], "acme", 5_000)
        for _ in range(3):
            self.now += 0.1
            for beating in self.ingresses:
                self.beat(beating)
                self.ask(beating, "acme", 2_000)

    # -- requests -----------------------------------------------------------------

    @rule(index=which, tenant=st.sampled_from(TENANTS), tokens=st.integers(1, 5_600))
    def a_request_comes(self, index, tenant, tokens):
        self.ask(self.ingresses[index % len(self.ingresses)], tenant, tokens)

    def ask(self, ingress, tenant, tokens):
        ceiling = ingress.holder.ceiling(tenant, CONFIG, now=self.now)
        outcome = ceiling.try_admit(tokens, now=self.now, is_paced=False)
        if isinstance(outcome, Reservation):
            ingress.open.append((ceiling, tenant, outcome, self.now))
            self.spent.append((self.now, tenant, tokens))
            self.reserved += tokens
        else:
            assert outcome.retry_after_s > 0

    @rule(index=which, data=st.data())
    def a_request_ends(self, index, data):
        ingress = self.ingresses[index % len(self.ingresses)]
        if not ingress.open:
            return
        at = data.draw(st.integers(0, len(ingress.open) - 1))
        self.end(ingress, at, data.draw(st.integers(0, ingress.open[at][2].tokens)))

    def end(self, ingress, at, used):
        if not ingress.open:
            return
        ceiling, tenant, reservation, admitted = ingress.open.pop(at)
        ceiling.settle(reservation, used, now=self.now)
        # In hindsight it was never spent.
        self.spent.remove((admitted, tenant, reservation.tokens))
        self.spent.append((admitted, tenant, used))
        self.settled += used
        self.released += reservation.tokens - used

    @rule(index=which, tenant=st.sampled_from(TENANTS), tokens=st.integers(1, 300))
    def tokens_come(self, index, tenant, tokens):
        self.book(self.ingresses[index % len(self.ingresses)], tenant, tokens)

    def book(self, ingress, tenant, tokens):
        pacer = ingress.holder.ceiling(tenant, CONFIG, now=self.now).pacer
        assert pacer is not None
        assert delay(pacer, tokens, now=self.now) >= 0

    # -- what holds ---------------------------------------------------------------

    def held(self, what):
        return [
            sum(
                what(x.holder.ceilings[tenant])
                for x in self.ingresses
                if tenant in x.holder.ceilings and x.holder.has_session(self.now)
            )
            for tenant in TENANTS
        ]

    @invariant()
    def shares_of_a_rate_are_never_more_than_the_limit(self):
        assert all(total <= 1 + TINY for total in self.held(lambda x: x.share))

    @invariant()
    def permits_are_never_more_than_the_limit(self):
        assert all(total <= PERMITS for total in self.held(lambda x: x.permits))

    @invariant()
    def the_rates_of_all_pacers_are_within_the_limit(self):
        for tenant in TENANTS:
            rates = 0.0
            for ingress in self.ingresses:
                ceiling = ingress.holder.ceilings.get(tenant)
                if ceiling is not None:
                    rates += ceiling.pacer.rate(now=self.now)
            assert rates <= RATE + TINY

    @invariant()
    def seats_are_never_more_than_there_are(self):
        seated = sum(x.holder.expiry.has_seat(self.now) for x in self.ingresses)
        assert seated <= TERMS.seats

    @invariant()
    def the_bucket_is_one(self):
        """Tokens held, and what is spent in a minute: the limit, and one bucket."""
        held = self.held(lambda x: max(0.0, x.tokens.held))
        assert all(total <= TOKENS + TINY for total in held)

    @invariant()
    def what_is_reserved_is_settled_or_open(self):
        for ingress in self.ingresses:
            for ceiling in ingress.holder.ceilings.values():
                mine = [r.tokens for c, _, r, _ in ingress.open if c is ceiling]
                assert ceiling.reserved == sum(mine)
                assert ceiling.running == len(mine)

    @invariant()
    def the_long_run_keeps_to_the_limit(self):
        for tenant in TENANTS:
            used = sum(tokens for _, name, tokens in self.spent if name == tenant)
            assert used <= TOKENS + (self.now - 100.0) * TOKENS / MINUTE_S + 1

    def teardown(self):
        still = sum(r.tokens for x in self.ingresses for _, _, r, _ in x.open)
        assert self.reserved >= self.settled + self.released + still


TestLeaseMachine = LeaseMachine.TestCase
TestLeaseMachine.settings = examples(150, stateful_step_count=50)


@examples(25)
@given(
    first=st.integers(1, 400),
    second=st.integers(0, 400),
    beats=st.lists(st.integers(0, 1), max_size=12),
)
def test_nobody_waits_forever_once_demand_stops_elsewhere(first, second, beats):
    """A few heartbeats after the others have nothing to do, one has nearly the whole limit."""
    holders = [LeaseHolder("a", TERMS), LeaseHolder("b", TERMS)]
    ledger = Ledger(1, TERMS, learning_until=0.0, is_first=True)
    now = 0.0

    def beat(index):
        nonlocal now
        now += 0.1
        answer = ledger.exchange(holders[index].report({}, now=now), now=now)
        assert holders[index].apply(answer, now=now)

    ceilings = [x.ceiling("acme", CONFIG, now=now) for x in holders]
    ceilings[0].pacer.book(first, now=now)
    ceilings[1].pacer.book(second, now=now)
    for index in beats:
        beat(index)
    # From here on b alone has demand.
    for _ in range(1_000):
        beat(0)
        beat(1)
        holders[1].ceiling("acme", CONFIG, now=now)
        missing = 300 - ceilings[1].pacer.backlog(now=now)
        if missing > 0:
            ceilings[1].pacer.book(int(missing), now=now)
        if ceilings[1].share >= 0.99:
            break

    assert ceilings[1].share >= 0.99
    # A bucket's worth of tokens and every permit can be had in one place, too.
    for _ in range(400):
        outcome = ceilings[1].try_admit(int(TOKENS * 0.9), now=now, is_paced=False)
        if isinstance(outcome, Reservation):
            break
        beat(1)
        beat(0)
    assert isinstance(outcome, Reservation)


def test_a_share_goes_to_another_only_when_the_first_has_said_that_it_is_smaller():
    """Between the two, part of the limit is nobody's; it is never two's."""
    holders = {name: LeaseHolder(name, TERMS) for name in "ab"}
    ledger = Ledger(1, TERMS, learning_until=0.0, is_first=True)
    ceilings = {name: x.ceiling("acme", CONFIG, now=0.0) for name, x in holders.items()}

    def send(name, now):
        return ledger.exchange(holders[name].report({}, now=now), now=now)

    ceilings["a"].pacer.book(500, now=0.0)
    holders["a"].apply(send("a", 0.0), now=0.0)
    assert ceilings["a"].share == 1.0
    ceilings["b"].pacer.book(500, now=0.1)
    holders["b"].apply(send("b", 0.1), now=0.1)
    assert ceilings["b"].share == 0.0

    # The answer that makes it smaller is lost: it holds what it held.
    assert send("a", 0.2).tenants["acme"].rate.share < 0.6
    holders["b"].apply(send("b", 0.3), now=0.3)
    assert ceilings["b"].share == 0.0
    holders["a"].apply(send("a", 0.4), now=0.4)
    holders["b"].apply(send("b", 0.5), now=0.5)
    assert ceilings["b"].share == 0.0
    holders["a"].apply(send("a", 0.6), now=0.6)
    holders["b"].apply(send("b", 0.7), now=0.7)
    assert 0.4 < ceilings["b"].share < 0.6


def test_a_dead_holders_share_comes_back_when_its_lease_has_run_out():
    """Not before, though it is silent."""
    dead, alive = LeaseHolder("dead", TERMS), LeaseHolder("alive", TERMS)
    ledger = Ledger(1, TERMS, learning_until=0.0, is_first=True)
    for holder in (dead, alive):
        ceiling = holder.ceiling("acme", CONFIG, now=0.0)
        ceiling.pacer.book(5_000, now=0.0)
        holder.apply(ledger.exchange(holder.report({}, now=0.0), now=0.0), now=0.0)
    assert dead.ceilings["acme"].share == 1.0

    shares = {}
    for step in range(1, 25):
        now = step / 10
        alive.apply(ledger.exchange(alive.report({}, now=now), now=now), now=now)
        shares[now] = alive.ceilings["acme"].share

    assert shares[TERMS.lease_s] == 0.0
    assert shares[2.1] == 1.0
    assert not dead.has_session(TERMS.lease_s * (1 - DRIFT))
