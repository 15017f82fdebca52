"""Whoever comes, sends, stays silent and leaves: what holds from the header on."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.errors import Rejected, RejectReason
from router.limits.bucket import MINUTE_S
from router.limits.ceiling import CeilingConfig, TenantCeiling
from router.limits.reservation import Reservation

AT_ONCE = 3
A_MINUTE = 20
TINY = 1e-6


class ArrivalMachine(RuleBasedStateMachine):
    """Requests of one tenant between their header and their end."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        config = CeilingConfig(
            concurrent_requests=AT_ONCE, requests_per_minute=A_MINUTE, tokens_per_minute=100
        )
        self.ceiling = TenantCeiling(config, now=0.0)
        self.arriving = 0
        self.running: list[Reservation] = []
        self.counted: list[float] = []

    @rule(gap=st.floats(0.0, 30.0))
    def time_passes(self, gap):
        self.now += gap

    @rule(will_run=st.booleans())
    def a_header_comes(self, will_run):
        refused = self.ceiling.try_request(now=self.now, will_run=will_run)
        if refused is None:
            self.counted.append(self.now)
            self.arriving += will_run
        elif refused.reason is RejectReason.REQUEST_RATE:
            later = self.now + refused.retry_after_s + TINY
            assert self.ceiling.request_refusal(now=later) is None
            self.now = later
        else:
            assert will_run and self.arriving + len(self.running) == AT_ONCE

    @precondition(lambda self: self.arriving)
    @rule(is_whole=st.booleans(), tokens=st.integers(1, 60))
    def a_body_is_here_or_will_not_come(self, is_whole, tokens):
        self.ceiling.arrived()
        self.arriving -= 1
        if not is_whole:
            return
        outcome = self.ceiling.try_admit(tokens, now=self.now)
        if isinstance(outcome, Rejected):
            # It had its place and was counted: nothing else is left to refuse it.
            assert outcome.reason is RejectReason.TOKEN_RATE
        else:
            self.running.append(outcome)

    @precondition(lambda self: self.running)
    @rule(used=st.integers(0, 60))
    def one_ends(self, used):
        held = self.running.pop()
        self.ceiling.settle(held, min(used, held.tokens), now=self.now)

    @invariant()
    def so_many_at_once(self):
        assert self.ceiling.arriving == self.arriving
        assert self.ceiling.running == len(self.running)
        assert self.arriving + len(self.running) <= AT_ONCE

    @invariant()
    def no_minute_holds_more_than_a_full_bucket_and_its_refill(self):
        for start in self.counted:
            within = sum(start <= at <= start + MINUTE_S for at in self.counted)
            assert within <= 2 * A_MINUTE + TINY


TestArrivalMachine = ArrivalMachine.TestCase
