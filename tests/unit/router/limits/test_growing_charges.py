"""What a request is charged as it grows, and what comes back of it."""

from dataclasses import replace

import pytest

from router.errors import Rejected, RejectReason
from router.limits.ceiling import CeilingConfig, TenantCeiling
from router.limits.reservation import GROW_TOKENS, Reckoning, Reservation, further_charge
from tests.unit.router.limits.test_ceiling import PER_MINUTE


def test_a_ceiling_that_does_not_bind_now_refuses_nobody_for_debt():
    """A lane that has room is open to those who owe."""
    ceiling = TenantCeiling(CeilingConfig(tokens_per_second=10, contended_from=40), now=0)
    ceiling.pacer.book(500, now=0)

    assert isinstance(ceiling.try_admit(1, now=0), Rejected)
    assert isinstance(ceiling.try_admit(1, now=0, is_paced=False), Reservation)


def test_other_limits_leave_what_is_spent_running_and_owed():
    """A reload is no second allowance: not of the minute, not of places, not of the pace."""
    old = CeilingConfig(
        tokens_per_second=10, tokens_per_minute=600, requests_per_minute=60, concurrent_requests=2
    )
    ceiling = TenantCeiling(old, now=0.0)
    ceiling.try_request(now=0.0)
    held = ceiling.try_admit(500, now=0.0)
    assert ceiling.pacer is not None
    pacer = ceiling.pacer
    pacer.book(50, now=0.0)

    ceiling.configure(replace(old, tokens_per_minute=900, tokens_per_second=5), now=0.0)

    assert ceiling.pacer is pacer and pacer.debt_s(now=0.0) == 10
    assert ceiling.tokens_state(now=0.0).remaining == 400
    assert ceiling.requests_state(now=0.0).remaining == 59
    ceiling.settle(held, 100, now=0.0)
    assert ceiling.tokens_state(now=0.0).remaining == 800
    ceiling.configure(CeilingConfig(concurrent_requests=1), now=0.0)
    assert ceiling.pacer is None and ceiling.tokens_state(now=0.0) is None
    ceiling.configure(old, now=0.0)
    assert ceiling.tokens_state(now=0.0).remaining == 600
    assert ceiling.pacer is not None


def test_a_smaller_limit_counts_what_was_spent_of_the_larger():
    """More than all of it: nothing until that is made good."""
    ceiling = TenantCeiling(CeilingConfig(tokens_per_minute=1000), now=0.0)
    ceiling.try_admit(700, now=0.0)

    ceiling.configure(CeilingConfig(tokens_per_minute=600), now=0.0)

    assert ceiling.tokens_state(now=0.0).remaining == 0
    refused = ceiling.try_admit(100, now=0.0)
    assert isinstance(refused, Rejected) and refused.retry_after_s == pytest.approx(20)


def six_at_once(ceiling, cost):
    """What becomes of six requests of a kind in the same moment."""
    outcomes = [ceiling.try_admit(ceiling.first_charge(cost), now=0) for _ in range(6)]
    return [isinstance(outcome, Reservation) for outcome in outcomes]


@pytest.mark.parametrize("wish", [300, 3_500, 32_000])
def test_no_wish_owns_the_whole_minute(wish):
    """Two of them fit beside each other under any limit, whatever is wished."""
    ceiling = TenantCeiling(PER_MINUTE, now=0)

    assert six_at_once(ceiling, Reckoning(43, 299, 43 + wish)) == [True] * 2 + [False] * 4


def test_what_is_sure_to_be_used_is_reserved_whole():
    """A prompt of more than half the limit; less than half is what it is."""
    ceiling = TenantCeiling(PER_MINUTE, now=0)

    assert ceiling.first_charge(Reckoning(450, 500, 4_000)) == 450
    assert ceiling.first_charge(Reckoning(50, 100, 200)) == 200
    unlimited = TenantCeiling(CeilingConfig(), now=0)
    assert unlimited.first_charge(Reckoning(50, 100, 32_000)) == 32_000
    assert TenantCeiling(CeilingConfig(tokens_per_minute=1), now=0).first_charge(
        Reckoning(0, 9, 9)
    ) == 1  # fmt: skip


def test_short_answers_to_long_wishes_go_on_for_ever():
    """One after another, as a client does that always asks for more than the limit."""
    ceiling = TenantCeiling(CeilingConfig(tokens_per_minute=3_000), now=0)
    cost = Reckoning(40, 296, 3_540)

    for _ in range(10):
        held = ceiling.try_admit(ceiling.first_charge(cost), now=0)
        assert held == Reservation(1_500)
        ceiling.settle(held, 60, now=0)

    assert ceiling.tokens_state(now=0).remaining == 2_400


def test_what_a_stream_outgrows_is_charged_as_it_goes():
    """Into debt: it is not refused, those who come meanwhile are."""
    ceiling = TenantCeiling(PER_MINUTE, now=0)
    held = ceiling.try_admit(300, now=0)

    held = ceiling.grow(held, 400, now=0)

    assert (held.tokens, ceiling.reserved) == (700, 700)
    refused = ceiling.refusal(1, now=0)
    assert isinstance(refused, Rejected) and refused.retry_after_s == pytest.approx(10.1)
    ceiling.settle(held, 690, now=0)
    assert ceiling.reserved == 0
    assert ceiling.refusal(1, now=9.0) is not None
    assert ceiling.refusal(1, now=9.2) is None


def test_what_was_charged_last_and_not_used_comes_back_whole():
    """Though the bucket was full between the first charge and the last."""
    ceiling = TenantCeiling(PER_MINUTE, now=0)
    held = ceiling.try_admit(100, now=0)
    held = ceiling.grow(held, 64, now=60)
    assert ceiling.tokens_state(now=60).remaining == 536

    ceiling.settle(held, 101, now=60)

    assert ceiling.tokens_state(now=60).remaining == 599


def test_a_request_without_tokens_counts_as_one_of_the_minute():
    """And takes nothing else: no tokens, no place among those that run."""
    ceiling = TenantCeiling(CeilingConfig(tokens_per_minute=600, requests_per_minute=2), now=0)

    outcomes = [ceiling.try_request(now=0) for _ in range(3)]

    assert outcomes[:2] == [None, None]
    assert (outcomes[2].reason, outcomes[2].retry_after_s) == (RejectReason.REQUEST_RATE, 30.0)
    assert (ceiling.running, ceiling.tokens_state(now=0).remaining) == (0, 600)
    assert TenantCeiling(PER_MINUTE, now=0).try_request(now=0) is None


def test_what_was_charged_last_comes_back_first_and_then_the_rest():
    """Each at the time it was charged."""
    grown = Reservation(100, at=1.0).grown(50, 0.0, now=9.0)

    assert grown.unused(120) == ((30, 9.0),)
    assert grown.unused(80) == ((50, 9.0), (20, 1.0))


def test_what_one_request_did_not_use_comes_back_while_another_runs():
    ceiling = TenantCeiling(CeilingConfig(tokens_per_minute=600), now=0)
    first, second = (ceiling.try_admit(100, now=0) for _ in range(2))

    ceiling.settle(first, 40, now=0)

    assert (ceiling.running, ceiling.reserved) == (1, second.tokens)
    assert ceiling.tokens_state(now=0).remaining == 600 - 100 - 40


def test_a_request_is_charged_ahead_up_to_what_it_may_use():
    """And always what it has used."""
    assert further_charge(100, 120, 1000) == GROW_TOKENS
    assert further_charge(100, 120, 130) == 30
    assert further_charge(100, 200, 150) == 100


def test_without_leases_no_lease_is_short():
    """Whoever is refused by the only ingress replica is refused by the limit."""
    ceiling = TenantCeiling(CeilingConfig(tokens_per_minute=60), now=0)
    ceiling.try_admit(60, now=0)

    assert isinstance(ceiling.try_admit(60, now=0), Rejected)
    assert not ceiling.is_short(60, now=0)


def test_what_is_done_besides_is_charged_and_takes_no_place():
    """The request that it is done for may be the only one at once."""
    config = CeilingConfig(tokens_per_minute=600, concurrent_requests=1)
    ceiling = TenantCeiling(config, now=0)
    ceiling.try_admit(100, now=0)

    held = ceiling.try_charge(400, now=0)

    assert held is not None
    assert (ceiling.reserved, ceiling.running) == (500, 1)
    assert ceiling.try_charge(200, now=0) is None
    ceiling.settle_charge(held, 50, now=0)
    assert (ceiling.reserved, ceiling.running) == (100, 1)
    assert ceiling.try_charge(450, now=0) is not None


def test_what_is_done_besides_waits_for_no_debt():
    ceiling = TenantCeiling(CeilingConfig(tokens_per_second=10), now=0)
    assert ceiling.try_charge(10**6, now=0) is not None

    ceiling.pacer.book(100, now=0)

    assert ceiling.try_charge(1, now=0) is None
