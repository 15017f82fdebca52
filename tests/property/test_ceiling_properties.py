"""What must always hold of ceilings."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.errors import Rejected
from router.limits.bucket import MINUTE_S
from router.limits.ceiling import CeilingConfig, TenantCeiling
from router.limits.pacer import Pacer
from router.limits.reservation import Reservation
from tests.unit.router.limits.paced import delay

LIMIT = 1_000
RATE = 50

# Rounding of sums of a few hundred floats.
TINY = 1e-6

gaps = st.one_of(st.just(0.0), st.floats(0.0, 2.0), st.floats(0.0, 120.0))


class CeilingMachine(RuleBasedStateMachine):
    """Requests come, stream, end or are cut off, while time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        config = CeilingConfig(tokens_per_second=RATE, tokens_per_minute=LIMIT)
        self.ceiling = TenantCeiling(config, now=self.now)
        self.open: list[tuple[Reservation, float]] = []
        # Time of admission, and what the request used in the end.
        self.spent: list[tuple[float, int]] = []
        # Times of admission and end, and the tokens given back then.
        self.refunds: list[tuple[float, float, int]] = []

    @rule(gap=gaps)
    def time_passes(self, gap):
        self.now += gap

    @rule(tokens=st.integers(1, LIMIT))
    def a_request_comes(self, tokens):
        outcome = self.ceiling.try_admit(tokens, now=self.now)
        if isinstance(outcome, Reservation):
            self.open.append((outcome, self.now))
        else:
            assert outcome.retry_after_s > 0

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def a_request_ends(self, data):
        index = data.draw(st.integers(0, len(self.open) - 1))
        reservation, admitted_at = self.open.pop(index)
        used = data.draw(st.integers(0, reservation.tokens))
        self.ceiling.settle(reservation, used, now=self.now)
        self.spent.append((admitted_at, used))
        self.refunds.append((admitted_at, self.now, reservation.tokens - used))

    @precondition(lambda self: self.open)
    @rule(tokens=st.integers(1, 20))
    def a_stream_delivers(self, tokens):
        assert self.ceiling.pacer is not None
        assert delay(self.ceiling.pacer, tokens, now=self.now) >= 0

    @invariant()
    def what_is_reserved_is_what_is_open(self):
        assert self.ceiling.reserved == sum(reservation.tokens for reservation, _ in self.open)

    @invariant()
    def no_minute_holds_more_than_a_full_bucket_its_refill_and_what_was_given_back(self):
        held = [(at, reservation.tokens) for reservation, at in self.open]
        events = self.spent + held
        for start, _ in events:
            within = sum(tokens for at, tokens in events if start <= at <= start + MINUTE_S)
            # Reserved before this minute, and given back since it began.
            back = sum(tokens for at, ended, tokens in self.refunds if at < start <= ended)
            assert within <= LIMIT + LIMIT + back + TINY

    @invariant()
    def the_long_run_keeps_to_the_limit(self):
        used = sum(tokens for _, tokens in self.spent)
        held = sum(reservation.tokens for reservation, _ in self.open)
        assert used + held <= LIMIT + self.now * LIMIT / MINUTE_S + TINY

    @invariant()
    def the_headers_stay_in_range(self):
        state = self.ceiling.tokens_state(now=self.now)
        assert state is not None
        assert 0 <= state.remaining <= state.limit
        assert state.reset_s >= 0

    def teardown(self):
        for reservation, _ in self.open:
            self.ceiling.settle(reservation, 0, now=self.now)
        assert self.ceiling.reserved == 0


TestCeilingMachine = CeilingMachine.TestCase


@given(
    bookings=st.lists(st.tuples(gaps, st.integers(1, 400)), max_size=30),
    tokens=st.integers(1, 2 * LIMIT),
)
def test_a_rejected_request_fits_after_retry_after(bookings, tokens):
    """Whatever came before, coming back after `retry_after_s` is enough."""
    config = CeilingConfig(tokens_per_second=RATE, tokens_per_minute=LIMIT, requests_per_minute=10)
    ceiling = TenantCeiling(config, now=0.0)
    now = 0.0
    for gap, size in bookings:
        now += gap
        ceiling.try_admit(size, now=now)
        assert ceiling.pacer is not None
        ceiling.pacer.book(size // 10, now=now)

    # Each ceiling refuses in turn, so a client may come back once for each.
    outcome = ceiling.try_admit(tokens, now=now)
    for _ in range(3):
        if isinstance(outcome, Rejected):
            assert outcome.retry_after_s is not None
            now += outcome.retry_after_s + TINY
            outcome = ceiling.try_admit(tokens, now=now)

    assert isinstance(outcome, Reservation)


def test_reservations_of_earlier_minutes_buy_no_burst():
    """Whatever was reserved and not used, one minute holds a bucket and its refill."""
    ceiling = TenantCeiling(CeilingConfig(tokens_per_minute=LIMIT), now=0.0)
    old = [ceiling.try_admit(LIMIT, now=minute * MINUTE_S) for minute in range(10)]
    now = 9 * MINUTE_S + 1

    admitted = 0
    for reservation in old:
        assert isinstance(reservation, Reservation)
        ceiling.settle(reservation, 0, now=now)
        if isinstance(ceiling.try_admit(LIMIT, now=now), Reservation):
            admitted += LIMIT

    assert admitted <= 2 * LIMIT


@given(rate=st.integers(1, 200), arrivals=st.lists(gaps, min_size=1, max_size=200))
def test_no_second_holds_more_tokens_than_the_rate_and_one(rate, arrivals):
    """Tokens booked one by one leave at most `rate` + 1 in any one-second window."""
    pacer = Pacer(rate, now=0.0)
    now, delivered = 0.0, []
    for gap in arrivals:
        now += gap
        delivered.append(now + delay(pacer, 1, now=now))

    for index, start in enumerate(delivered):
        # Closed at both ends, which is the hardest window.
        within = [at for at in delivered[index:] if at <= start + 1.0]
        assert len(within) <= rate + 1
    assert delivered == sorted(delivered)


@given(
    bookings=st.lists(st.tuples(gaps, st.integers(0, 100)), max_size=50),
    rate=st.floats(0.5, 500),
)
def test_debt_is_never_more_than_what_was_booked(bookings, rate):
    """Repaying takes at most as long as delivering everything at the ceiling."""
    pacer = Pacer(rate, now=0.0)
    now, booked = 0.0, 0
    for gap, tokens in bookings:
        now += gap
        pacer.book(tokens, now=now)
        booked += tokens

    assert 0.0 <= pacer.debt_s(now=now) <= booked / rate + TINY
