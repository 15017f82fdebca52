"""Quotas: what a tenant may use in a calendar day and month, in UTC.

A quota counts prompt and completion tokens, each kind by its weight. What is open
counts as reserved; what has ended counts as the engine counted it. Unlike the
ceilings, a quota does not refill: it comes back whole at midnight, or on the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from router.errors import Rejected, RejectReason


@dataclass(frozen=True, slots=True)
class TokenWeights:
    """What a token of each kind counts as; a cached one is a prompt token too."""

    prompt: float = 1.0
    cached: float = 1.0
    completion: float = 1.0

    def weigh(self, prompt: int, cached: int, completion: int) -> float:
        """Weighted tokens; `cached` of the `prompt` tokens came from the prefix cache."""
        fresh = max(0, prompt - cached)
        return self.prompt * fresh + self.cached * cached + self.completion * completion


@dataclass(frozen=True, slots=True)
class QuotaConfig:
    """Weighted tokens in a calendar day and month (UTC); None: no quota."""

    tokens_per_day: float | None = None
    tokens_per_month: float | None = None

    @property
    def is_none(self) -> bool:
        """Whether nothing is limited."""
        return self.tokens_per_day is None and self.tokens_per_month is None


NO_QUOTA = QuotaConfig()
EVEN_WEIGHTS = TokenWeights()


def day_of(now: datetime) -> str:
    """The day in UTC, as YYYY-MM-DD."""
    return now.astimezone(UTC).date().isoformat()


def month_of(now: datetime) -> str:
    """The month in UTC, as YYYY-MM."""
    return day_of(now)[:7]


def day_ends_s(now: datetime) -> float:
    """Seconds until the next midnight in UTC."""
    at = now.astimezone(UTC)
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return (midnight - at).total_seconds()


def month_ends_s(now: datetime) -> float:
    """Seconds until the first of the next month in UTC."""
    at = now.astimezone(UTC)
    first = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    # No month is longer than 31 days, and none ends before its 28th.
    following = (first + timedelta(days=31)).replace(day=1)
    return (following - at).total_seconds()


def refuse(
    config: QuotaConfig, *, day: float, month: float, tokens: float, now: datetime
) -> Rejected | None:
    """The quota that would refuse a request of `tokens`, with the time of its reset.

    A request that is larger than a whole quota is admitted while nothing of the
    quota is used, as a full bucket admits it: no reset could ever make room.

    Args:
        config: the tenant's quotas.
        day: weighted tokens used or reserved today.
        month: the same this month.
        tokens: what the request is reckoned at.
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
