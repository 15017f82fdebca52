"""Quotas: what a tenant may use in a calendar day and month, in UTC.

A quota counts prompt and completion tokens, each kind by its weight. What is open
counts as reserved; what has ended counts as the engine counted it. Unlike the
ceilings, a quota does not refill: it comes back whole at midnight, or on the first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import inf

from router.errors import Rejected, RejectReason
from router.limits.reservation import Reckoning


@dataclass(frozen=True, slots=True)
class TokenWeights:
    """What a token of each kind counts as, per minute and in quotas.

    `metadata` bounds what a file may say.

    Attributes:
        cached: a prompt token that the engine had in its prefix cache.

    """

    prompt: float = field(default=1.0, metadata={"ge": 0})
    cached: float = field(default=1.0, metadata={"ge": 0})
    completion: float = field(default=1.0, metadata={"ge": 0})

    def weigh(self, prompt: int, cached: int, completion: int) -> float:
        """Return weighted tokens; `cached` of the `prompt` tokens came from the prefix cache."""
        fresh = prompt - cached if prompt > cached else 0
        return self.prompt * fresh + self.cached * cached + self.completion * completion


@dataclass(frozen=True, slots=True)
class QuotaConfig:
    """Weighted tokens in a calendar day and month (UTC); None: no quota."""

    tokens_per_day: float | None = None
    tokens_per_month: float | None = None

    @property
    def is_none(self) -> bool:
        return self.tokens_per_day is None and self.tokens_per_month is None


NO_QUOTA = QuotaConfig()
EVEN_WEIGHTS = TokenWeights()


def day_of(now: datetime) -> str:
    """Return the day in UTC, as YYYY-MM-DD."""
    return now.astimezone(UTC).date().isoformat()


def month_of(now: datetime) -> str:
    """Return the month in UTC, as YYYY-MM."""
    return day_of(now)[:7]


def day_ends_s(now: datetime) -> float:
    """Return the seconds until the next midnight in UTC."""
    at = now.astimezone(UTC)
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return (midnight - at).total_seconds()


def month_ends_s(now: datetime) -> float:
    """Return the seconds until the first of the next month in UTC."""
    at = now.astimezone(UTC)
    first = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    # No month is longer than 31 days, and none ends before its 28th.
    following = (first + timedelta(days=31)).replace(day=1)
    return (following - at).total_seconds()


HELD_SHARE = 0.5
"""Share of what is left of a quota that one request holds at most before it has used it."""


def first_hold(config: QuotaConfig, *, day: float, month: float, cost: Reckoning) -> float:
    """Return the weighted tokens that a request holds of its tenant's quotas from the start.

    That is an answer as long as it may be, where it leaves half of what is left. A wish for
    more than a quota has is no reason to refuse, and the next request must find room beside it.
    What is held grows as the request answers.

    Args:
        config: the tenant's quotas.
        day: weighted tokens used or reserved today.
        month: the same this month.
        cost: the request's estimate.

    """
    limits = ((config.tokens_per_day, day), (config.tokens_per_month, month))
    left = min((limit - used for limit, used in limits if limit is not None), default=inf)
    return min(cost.whole, max(cost.short, left * HELD_SHARE))


def refuse(
    config: QuotaConfig, *, day: float, month: float, tokens: float, now: datetime
) -> Rejected | None:
    """Return the refusal of a request of `tokens` by a quota, if any, with its reset.

    A request that is larger than a whole quota is admitted while nothing of the
    quota is used, as a full bucket admits it: no reset could ever make room.

    Args:
        config: the tenant's quotas.
        day: weighted tokens used or reserved today.
        month: the same this month.
        tokens: the request's estimate, with an answer of usual length.
        now: with its zone.

    """
    # The month first: when both are spent, the day's reset would be a false hope.
    quotas = (
        ("month", config.tokens_per_month, month, month_ends_s),
        ("day", config.tokens_per_day, day, day_ends_s),
    )
    for name, limit, used, ends_s in quotas:
        if limit is not None and used + min(tokens, limit) > limit:
            message = f"The {name}'s token quota is spent; it comes back at 00:00 UTC"
            message += " on the first." if name == "month" else "."
            return Rejected(RejectReason.TOKEN_QUOTA, message, ends_s(now))
    return None
