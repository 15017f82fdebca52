"""What running requests have charged is never less than what they have used."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.leases.expiry import LeaseExpiry
from router.leases.leased_ceiling import LeasedCeiling
from router.leases.messages import BucketGrant, LeaseTerms, TenantGrant
from router.limits.bucket import MINUTE_S
from router.limits.ceiling import CeilingConfig, TenantCeiling
from router.limits.quota import QuotaConfig, first_hold
from router.limits.reservation import GROW_TOKENS, Reckoning, Reservation, further_charge
from router.routing.window_room import LEAST_TOKENS, fitted, least_room, smaller_asks

LIMIT = 3_000
TERMS = LeaseTerms(lease_s=1e6, seat_s=1e6, seats=4, safe_share=0.01, stale_s=0.5)
TINY = 1e-3

costs = st.builds(
    lambda prompt, short, more: Reckoning(prompt, prompt + short, prompt + short + more),
    st.integers(1, 2_000),
    st.integers(0, 256),
    st.sampled_from((0, 1, 500, 3_500, 32_000)),
)
# Tokens that a stream brings, after so many seconds.
steps = st.lists(st.tuples(st.integers(0, 90), st.floats(0, 20)), max_size=30)


def alone() -> TenantCeiling:
    return TenantCeiling(CeilingConfig(tokens_per_minute=LIMIT), now=0.0)


def leased() -> LeasedCeiling:
    """One of two ingress replicas, with all that can be leased."""
    expiry = LeaseExpiry(lease_until=1e6, seat_until=1e6, seated_at=-1e3)
    ceiling = LeasedCeiling(CeilingConfig(tokens_per_minute=LIMIT), TERMS, expiry, now=0.0)
    ceiling.report(gives_up=False, now=0.0)
    whole = LIMIT * TERMS.leased
    ceiling.apply(TenantGrant(tokens=BucketGrant(whole, None, whole)), epoch=1, number=1, now=0.0)
    return ceiling


def left(ceiling, now: float) -> float:
    """What the bucket holds, debts with their sign."""
    bucket = ceiling.tokens
    if isinstance(ceiling, LeasedCeiling):
        return bucket.held + bucket.safe.level(now=now)
    return bucket.level(now=now)


@pytest.mark.parametrize("make", [alone, leased])
@given(cost=costs, steps=steps, final=st.integers(-50, 50), is_told=st.booleans())
@settings(deadline=None)
def test_a_stream_is_charged_what_it_has_used_at_any_time(make, cost, steps, final, is_told):
    """And exactly what the engine counted when it has ended; others see it meanwhile."""
    ceiling, now, used = make(), 0.0, cost.prompt
    # Nothing is refilled here: what was charged is what is missing.
    begin = left(ceiling, now)
    held = ceiling.try_admit(ceiling.first_charge(cost), now=now)
    assert isinstance(held, Reservation)
    assert cost.prompt <= held.tokens <= cost.whole
    for tokens, _ in steps:
        used = min(used + tokens, cost.whole)
        if used > held.tokens:
            whole = cost.whole if is_told else float("inf")
            more = further_charge(held.tokens, used, whole)
            held = ceiling.grow(held, more, now=now)
            assert held.tokens < used + GROW_TOKENS
        assert held.tokens >= used
        assert ceiling.reserved == held.tokens
        assert begin - left(ceiling, now) == pytest.approx(held.tokens, abs=TINY)

    counted = max(0, used + final)
    ceiling.settle(held, counted, now=now)

    assert ceiling.reserved == ceiling.running == 0
    assert begin - left(ceiling, now) == pytest.approx(counted, abs=TINY)


@given(cost=costs, steps=steps)
def test_time_gives_nothing_twice(cost, steps):
    """Whatever refills meanwhile: never fuller than had the request never reserved."""
    ceiling, now, used = alone(), 0.0, cost.prompt
    held = ceiling.try_admit(ceiling.first_charge(cost), now=now)
    for tokens, pause in steps:
        now, used = now + pause, min(used + tokens, cost.whole)
        if used > held.tokens:
            more = further_charge(held.tokens, used, cost.whole)
            held = ceiling.grow(held, more, now=now)
    ceiling.settle(held, used, now=now)

    # Had all been charged at once, at the start or at the end.
    assert left(ceiling, now) <= LIMIT + TINY
    assert left(ceiling, now) >= LIMIT - used - TINY
    assert left(ceiling, now) <= LIMIT - used + now * LIMIT / MINUTE_S + TINY


@given(wishes=st.lists(st.tuples(costs, st.integers(0, 60)), min_size=1, max_size=20))
def test_nobody_is_refused_for_ever(wishes):
    """Whatever is wished, a full bucket lets it in; a refusal says when it is full enough."""
    ceiling, now = alone(), 0.0
    for cost, answer in wishes:
        charge = ceiling.first_charge(cost)
        outcome = ceiling.try_admit(charge, now=now)
        if not isinstance(outcome, Reservation):
            assert 0 < outcome.retry_after_s <= 2 * MINUTE_S
            now += outcome.retry_after_s + TINY
            outcome = ceiling.try_admit(charge, now=now)
        assert isinstance(outcome, Reservation)
        ceiling.settle(outcome, min(cost.whole, cost.prompt + answer), now=now)


@pytest.mark.parametrize("make", [alone, leased])
@given(first=costs, second=costs)
def test_there_is_room_for_a_second_request_beside_any_wish(make, first, second):
    """As long as the two prompts leave it."""
    ceiling = make()
    begin = left(ceiling, 0.0)
    held = ceiling.try_admit(ceiling.first_charge(first), now=0.0)
    assert isinstance(held, Reservation)
    beside = ceiling.try_admit(ceiling.first_charge(second), now=0.0)

    if max(first.prompt, second.prompt) <= begin / 2 - 1:
        assert isinstance(beside, Reservation)


@given(
    wish=st.integers(0, 2**31 - 1),
    prompt=st.integers(1, 300_000),
    window=st.sampled_from((512, 4_096, 8_192, 131_072)),
)
def test_what_is_asked_of_an_engine_is_what_was_wished_or_less(wish, prompt, window):
    """Never more, in falling order; what may fit as it is, and what may not with room."""
    asked = fitted(wish, prompt, window)
    asks = [asked, *smaller_asks(asked, prompt, window)]

    assert asked == wish or asked < wish
    assert asks == sorted(set(asks), reverse=True)
    assert len(asks) <= 5
    if prompt + wish <= window:
        assert asked == wish
    elif prompt <= window:
        assert min(wish, LEAST_TOKENS) <= asked <= window - 0.75 * prompt + 1
    assert 0 <= least_room(wish, window) <= min(wish, window)


@given(cost=costs, limit=st.integers(1, 100_000), spent=st.floats(0, 1))
def test_a_quota_holds_a_usual_answer_and_never_more_than_the_request(cost, limit, spent):
    """Half of what is left, between the two."""
    tokens = first_hold(QuotaConfig(limit), day=spent * limit, month=0, cost=cost)

    assert cost.short <= tokens <= cost.whole
    assert tokens <= max(cost.short, (1 - spent) * limit / 2 + TINY)
