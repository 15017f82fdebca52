"""Running requests that outgrow their charge, and those without tokens, by leases."""

import pytest

from router.leases.expiry import LeaseExpiry
from router.leases.leased_ceiling import LeasedCeiling
from router.leases.messages import BucketGrant, LeaseTerms, PermitDemand, TenantGrant
from router.limits.ceiling import CeilingConfig
from router.limits.reservation import Reckoning, Reservation

TERMS = LeaseTerms(lease_s=100, seat_s=600, seats=4, safe_share=0.01, stale_s=0.5)
LIMIT = 3_000
SAFE = 30


def leased(tokens: float) -> LeasedCeiling:
    """A full safe capacity, and so many tokens of the rest."""
    expiry = LeaseExpiry(lease_until=100, seat_until=600, seated_at=-600)
    ceiling = LeasedCeiling(CeilingConfig(tokens_per_minute=LIMIT), TERMS, expiry, now=0)
    ceiling.report(gives_up=False, now=0)
    grant = TenantGrant(tokens=BucketGrant(tokens, None, LIMIT * TERMS.leased))
    ceiling.apply(grant, epoch=1, number=1, now=0)
    return ceiling


def held(ceiling) -> tuple[float, float]:
    """Tokens held, and the level of the safe capacity."""
    return ceiling.tokens.held, ceiling.tokens.safe.level(now=0)


def test_half_of_what_can_be_had_here_is_the_most_of_one_request():
    """So two fit on one ingress replica, as they do where there is only one."""
    ceiling = leased(LIMIT * TERMS.leased)
    cost = Reckoning(40, 296, 32_040)
    outcomes = [ceiling.try_admit(ceiling.first_charge(cost), now=0) for _ in range(3)]

    assert outcomes[0] == outcomes[1] == Reservation(1_455)
    assert not isinstance(outcomes[2], Reservation)
    unlimited = LeasedCeiling(CeilingConfig(), TERMS, LeaseExpiry(), now=0)
    assert unlimited.first_charge(cost) == 32_040


def test_what_is_outgrown_comes_from_the_lease_and_the_floor_and_then_is_debt():
    """And goes back where it came from: no token of the safe capacity becomes one of the lease."""
    ceiling = leased(40)
    reservation = ceiling.try_admit(50, now=0)
    assert held(ceiling) == pytest.approx((0, SAFE - 10))

    reservation = ceiling.grow(reservation, 64, now=0)
    assert reservation == Reservation(114)
    assert held(ceiling) == pytest.approx((-44, 0))
    assert ceiling.refusal(1, now=0) is not None

    ceiling.settle(reservation, 34, now=0)
    assert held(ceiling) == pytest.approx((6, SAFE))
    assert (ceiling.reserved, ceiling.running) == (0, 0)


def test_growing_without_a_limit_per_minute_only_counts():
    """A tenant with a limit per second alone."""
    ceiling = LeasedCeiling(CeilingConfig(tokens_per_second=9), TERMS, LeaseExpiry(), now=0)
    reservation = Reservation(10)
    ceiling.reserved, ceiling.running = 10, 1

    grown = ceiling.grow(reservation, 64, now=0)
    ceiling.settle(grown, 3, now=0)

    assert grown.tokens == 74
    assert (ceiling.reserved, ceiling.running) == (0, 0)


def test_of_leased_requests_they_take_what_is_there():
    """And want more, so that the next answer brings it."""
    expiry = LeaseExpiry(lease_until=100, seat_until=600, seated_at=-600)
    ceiling = LeasedCeiling(CeilingConfig(requests_per_minute=100), TERMS, expiry, now=0)
    unlimited = LeasedCeiling(CeilingConfig(), TERMS, expiry, now=0)

    first, second = (ceiling.try_request(now=0) for _ in range(2))
    assert first is None and second is not None and second.reason == "request_rate"
    assert unlimited.try_request(now=0) is None
    assert ceiling.report(gives_up=False, now=0).requests.need == 1
    grant = TenantGrant(requests=BucketGrant(10, None, 95))
    ceiling.apply(grant, epoch=1, number=1, now=0)
    assert [ceiling.try_request(now=0) for _ in range(10)] == [None] * 10


def test_of_leased_permits_arriving_bodies_take_theirs():
    """Running or arriving, here or elsewhere; one that finds none asks for another."""
    expiry = LeaseExpiry(lease_until=100, seat_until=600, seated_at=-600)
    ceiling = LeasedCeiling(CeilingConfig(concurrent_requests=2), TERMS, expiry, now=0)
    ceiling.apply(TenantGrant(permits=(2, 0)), epoch=1, number=1, now=0)
    held = ceiling.try_admit(1, now=0)
    assert ceiling.try_request(now=0, will_run=True) is None
    assert not ceiling.is_quiet(0)

    refused = ceiling.try_request(now=0, will_run=True)

    assert refused is not None and refused.reason == "tenant_concurrency"
    assert ceiling.try_request(now=0) is None
    assert not ceiling.is_short(0, now=0)
    assert ceiling.report(gives_up=False, now=0).permits == PermitDemand(2, 2, 2, 1)
    ceiling.settle(held, 1, now=0)
    ceiling.arrived()
    assert ceiling.is_quiet(0)


def test_a_request_that_was_counted_is_short_of_tokens_alone():
    """The minute's requests may be spent by then: it is one of them."""
    expiry = LeaseExpiry(lease_until=100, seat_until=600, seated_at=-600)
    config = CeilingConfig(requests_per_minute=1, tokens_per_minute=1_000)
    ceiling = LeasedCeiling(config, TERMS, expiry, now=0)
    ceiling.apply(TenantGrant(requests=BucketGrant(1, None, 1)), epoch=1, number=1, now=0)
    assert ceiling.try_request(now=0) is None

    refused = ceiling.try_admit(500, now=0)

    assert refused.reason == "token_rate"
    assert ceiling.is_short(500, now=0, is_counted=True)
    assert not ceiling.is_short(500, now=0)
    assert ceiling.refusal(1, now=0).reason == "request_rate"


def test_what_is_done_besides_comes_from_the_lease_and_ends_with_it():
    ceiling = leased(400)
    charge = ceiling.try_charge(100, now=0)
    assert charge is not None and held(ceiling)[0] == pytest.approx(300)
    ceiling.settle_charge(charge, 10, now=0)
    assert held(ceiling)[0] == pytest.approx(390)

    # The lease is over: what is left is the safe capacity.
    assert ceiling.try_charge(100, now=101) is None
