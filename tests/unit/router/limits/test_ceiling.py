"""Token ceilings of one tenant."""

import pytest

from router.errors import Rejected, RejectReason
from router.limits.bucket import MAX_PEAKS, Bucket, RateLimitState
from router.limits.ceiling import CeilingConfig, TenantCeiling
from router.limits.pacer import Pacer
from router.limits.reservation import Reservation
from tests.unit.router.limits.paced import delay

PER_MINUTE = CeilingConfig(tokens_per_minute=600)


def test_a_tenant_without_limits_is_always_admitted():
    """None means no limit, and no rate-limit headers."""
    ceiling = TenantCeiling(CeilingConfig(), now=0)

    outcome = ceiling.try_admit(10**9, now=0)
    grown = ceiling.grow(outcome, 64, now=0)
    ceiling.settle(grown, 5, now=1)

    assert outcome == Reservation(10**9) and grown == Reservation(10**9 + 64)
    assert ceiling.pacer is None
    assert ceiling.requests_state(now=0) is None
    assert ceiling.tokens_state(now=0) is None
    assert ceiling.reserved == 0


def test_a_rejected_request_fits_after_retry_after():
    """The bucket refills at the limit's rate, and retry_after_s says when."""
    ceiling = TenantCeiling(PER_MINUTE, now=0)
    ceiling.try_admit(500, now=0)

    rejected = ceiling.try_admit(150, now=0)

    assert isinstance(rejected, Rejected)
    assert rejected.reason is RejectReason.TOKEN_RATE
    assert rejected.retry_after_s == 5.0
    assert ceiling.try_admit(150, now=5.0) == Reservation(150)


def test_a_rejected_request_reserves_nothing():
    """A refusal leaves every ceiling as it was."""
    ceiling = TenantCeiling(CeilingConfig(tokens_per_minute=600, requests_per_minute=60), now=0)
    ceiling.try_admit(600, now=0)
    before = ceiling.requests_state(now=0)

    ceiling.try_admit(1, now=0)

    assert ceiling.reserved == 600
    assert ceiling.requests_state(now=0) == before


def test_settling_gives_back_what_was_not_used():
    """A reservation is replaced by the engine's count."""
    ceiling = TenantCeiling(PER_MINUTE, now=0)
    ceiling.try_admit(600, now=0)

    ceiling.settle(Reservation(600), 100, now=0)

    assert ceiling.reserved == 0
    assert ceiling.tokens_state(now=0) == RateLimitState(limit=600, remaining=500, reset_s=10.0)


def test_settling_above_the_reservation_leaves_a_debt():
    """An underestimate is repaid before the next request."""
    ceiling = TenantCeiling(PER_MINUTE, now=0)
    ceiling.try_admit(600, now=0)

    ceiling.settle(Reservation(600), 700, now=0)

    rejected = ceiling.refusal(100, now=0)
    assert isinstance(rejected, Rejected)
    assert rejected.retry_after_s == 20.0
    assert ceiling.tokens_state(now=0) == RateLimitState(limit=600, remaining=0, reset_s=70.0)


def test_a_refund_never_fills_the_bucket_over_its_limit():
    """What refilled in the meantime is not counted twice."""
    ceiling = TenantCeiling(PER_MINUTE, now=0)
    ceiling.try_admit(600, now=0)

    ceiling.settle(Reservation(600), 0, now=60)

    assert ceiling.tokens_state(now=60) == RateLimitState(limit=600, remaining=600, reset_s=0.0)


def test_a_request_larger_than_the_limit_is_admitted_on_a_full_bucket():
    """Else it could never run; it then leaves a debt."""
    ceiling = TenantCeiling(PER_MINUTE, now=0)

    admitted = ceiling.try_admit(900, now=0)
    rejected = ceiling.try_admit(1, now=0)

    assert admitted == Reservation(900)
    assert isinstance(rejected, Rejected)
    assert rejected.retry_after_s == pytest.approx(30.1)


def test_requests_are_limited_by_the_minute():
    """Each once, at the header: admission counts no second time and refuses none of them."""
    ceiling = TenantCeiling(CeilingConfig(requests_per_minute=2), now=0)
    assert [ceiling.try_request(now=0, will_run=True) for _ in range(2)] == [None, None]
    assert all(isinstance(ceiling.try_admit(10, now=0), Reservation) for _ in range(2))

    rejected = ceiling.try_request(now=0, will_run=True)

    assert isinstance(rejected, Rejected)
    assert rejected.reason is RejectReason.REQUEST_RATE
    assert rejected.retry_after_s == 30.0
    assert rejected == ceiling.request_refusal(now=0) == ceiling.refusal(10, now=0)
    assert ceiling.requests_state(now=30) == RateLimitState(limit=2, remaining=1, reset_s=30.0)


def test_debt_of_ended_streams_refuses_the_next_request():
    """What was generated ahead must be repaid first, but for the second that may be owed."""
    ceiling = TenantCeiling(CeilingConfig(tokens_per_second=10), now=0)
    assert ceiling.pacer is not None
    ceiling.pacer.book(30, now=0)

    rejected = ceiling.try_admit(1, now=0)

    assert isinstance(rejected, Rejected)
    assert (rejected.reason, rejected.retry_after_s) == (RejectReason.TOKEN_RATE, 2.0)
    assert isinstance(ceiling.try_admit(1, now=1.9), Rejected)
    assert ceiling.try_admit(1, now=2.0) == Reservation(1)


def test_the_pacer_spaces_tokens_by_its_rate():
    """Token k leaves no earlier than 1/rate after token k-1."""
    pacer = Pacer(10, now=0)

    delays = [delay(pacer, 1, now=0) for _ in range(4)]

    assert delays == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_an_idle_pacer_saves_nothing_up():
    """Silence earns one token of burst and no more."""
    pacer = Pacer(10, now=0)

    delays = [delay(pacer, 1, now=100) for _ in range(2)]

    assert delays == pytest.approx([0.0, 0.1])
    assert pacer.debt_s(now=100) == pytest.approx(0.2)
    assert pacer.debt_s(now=200) == 0.0


def test_a_bucket_ignores_a_clock_that_steps_back():
    """An earlier `now` neither refills nor drains."""
    bucket = Bucket(60, now=100)
    bucket.charge(30, now=100)

    assert bucket.level(now=50) == 30
    assert bucket.level(now=110) == 40


def test_memory_for_refunds_is_bounded():
    """However many charges wait for their refund, a bucket remembers 1,024 of them."""
    bucket = Bucket(1_000_000, now=0, refunds=True)

    for _ in range(MAX_PEAKS + 100):
        bucket.charge(1, now=0)

    assert len(bucket.peaks) == MAX_PEAKS
    assert bucket.refundable(10, since=0, now=0) == 10


def test_so_many_requests_run_at_once():
    """One that ends makes room for another."""
    ceiling = TenantCeiling(CeilingConfig(concurrent_requests=2), now=0)
    held = [ceiling.try_admit(1, now=0) for _ in range(2)]

    refused = ceiling.try_admit(1, now=0)

    assert refused.reason is RejectReason.TENANT_CONCURRENCY
    ceiling.settle(held[0], 1, now=0)
    assert isinstance(ceiling.try_admit(1, now=0), Reservation)


def test_a_request_whose_body_arrives_is_one_of_those_at_once():
    """What is not to run is not; a request that is refused so is not one of the minute."""
    config = CeilingConfig(concurrent_requests=2, requests_per_minute=10)
    ceiling = TenantCeiling(config, now=0)
    held = ceiling.try_admit(1, now=0)
    assert ceiling.try_request(now=0, will_run=True) is None

    refused = ceiling.try_request(now=0, will_run=True)

    assert refused.reason is RejectReason.TENANT_CONCURRENCY
    assert ceiling.requests_state(now=0).remaining == 9
    assert ceiling.try_request(now=0) is None
    assert ceiling.try_admit(1, now=0).reason is RejectReason.TENANT_CONCURRENCY
    ceiling.arrived()
    assert isinstance(ceiling.try_admit(1, now=0), Reservation)
    ceiling.settle(held, 1, now=0)
    assert ceiling.try_request(now=0, will_run=True) is None
    assert (ceiling.running, ceiling.arriving) == (1, 1)
