"""Quotas of calendar days and months."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import RejectReason
from router.limits.quota import (
    QuotaConfig,
    TokenWeights,
    day_ends_s,
    day_of,
    first_hold,
    month_ends_s,
    month_of,
    refuse,
)
from router.limits.reservation import Reckoning

NOON = datetime(2028, 2, 28, 12, tzinfo=UTC)
BOTH = QuotaConfig(tokens_per_day=100, tokens_per_month=1000)


def outcome(config=BOTH, *, day=0.0, month=0.0, tokens=1.0, now=NOON):
    return refuse(config, day=day, month=month, tokens=tokens, now=now)


def test_without_quotas_everything_is_admitted():
    """None is no limit, not zero."""
    assert QuotaConfig().is_none and not BOTH.is_none
    assert outcome(QuotaConfig(), day=1e12, month=1e12, tokens=1e12) is None


def test_the_last_token_of_a_quota_can_be_used():
    """Up to the limit, not past it."""
    assert outcome(day=60, tokens=40) is None
    assert outcome(day=60, tokens=41) is not None
    assert outcome(month=999, tokens=1) is None
    assert outcome(month=999, tokens=2) is not None


def test_a_spent_day_comes_back_at_midnight():
    """The wait is what is left of the day."""
    refused = outcome(day=100)

    assert (refused.reason, refused.retry_after_s) == (RejectReason.TOKEN_QUOTA, 12 * 3600)


def test_a_spent_month_comes_back_on_the_first_even_if_the_day_is_spent_too():
    """Midnight would be a false hope. 2028 has a 29 February."""
    refused = outcome(day=100, month=1000)

    assert refused.retry_after_s == 36 * 3600
    assert "first" in refused.message


def test_a_request_larger_than_the_quota_is_admitted_only_to_an_unused_one():
    """No reset would ever make room for it otherwise."""
    assert outcome(day=0, tokens=5000, month=0) is None
    assert outcome(day=1, tokens=5000) is not None


def test_weights_count_each_kind_for_itself():
    """Cached tokens are prompt tokens, and count once."""
    weights = TokenWeights(prompt=1, cached=0.1, completion=3)

    assert weights.weigh(100, 60, 10) == pytest.approx(40 + 6 + 30)
    assert TokenWeights().weigh(100, 60, 10) == 110


def test_periods_are_in_utc():
    """Whatever the zone of the clock."""
    late = datetime(2027, 1, 1, 1, tzinfo=timezone(timedelta(hours=3)))

    assert (day_of(late), month_of(late)) == ("2026-12-31", "2026-12")
    assert (day_ends_s(late), month_ends_s(late)) == (2 * 3600, 2 * 3600)


@given(st.integers(0, 3_000_000_000), st.integers(0, 999_999))
def test_a_period_ends_when_the_next_begins(second, microsecond):
    """The wait leads to the first moment of another period, and not past it."""
    now = datetime.fromtimestamp(second, UTC).replace(microsecond=microsecond)
    for of, ends_s in ((day_of, day_ends_s), (month_of, month_ends_s)):
        reset = now + timedelta(seconds=ends_s(now))
        assert of(reset) != of(now)
        assert of(reset - timedelta(microseconds=1)) == of(now)


@pytest.mark.parametrize(
    ("config", "day", "month", "tokens"),
    [
        (QuotaConfig(), 0, 0, 32_040),
        (QuotaConfig(tokens_per_day=100_000), 0, 0, 32_040),
        (QuotaConfig(tokens_per_day=20_000), 0, 0, 10_000),
        (QuotaConfig(tokens_per_day=20_000), 19_000, 0, 500),
        (QuotaConfig(tokens_per_day=20_000, tokens_per_month=30_000), 0, 28_000, 1_000),
        (QuotaConfig(tokens_per_day=20_000), 19_800, 0, 296),
    ],
    ids=["no quota", "plenty", "half of it", "half of what is left", "of both", "a usual answer"],
)
def test_a_long_wish_holds_half_of_what_is_left_at_most(config, day, month, tokens):
    """And a usual answer at least, for which there is room or the request is refused."""
    cost = Reckoning(40, 296, 32_040)

    assert first_hold(config, day=day, month=month, cost=cost) == tokens
