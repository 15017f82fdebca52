"""Token ceilings of one tenant, in one ingress replica.

Two limits with different clocks:

- **tokens per minute** counts prompt and completion tokens. A request reserves
  an estimate when it is admitted and settles to the engine's count when it ends,
  whichever way it ends. The budget is a bucket that refills continuously, so
  there is no window edge to wait for.
- **tokens per second** counts delivered completion tokens. An engine cannot slow
  one request down, so the ingress reads it at full speed and spaces what it
  passes on: `Pacer.delay` says how long to hold the next tokens. What was
  generated ahead of the ceiling is debt: the tenant's next request is refused
  until the debt is repaid. That is what protects the batch.

Nothing here is shared between ingress replicas: each enforces its share of the
tenant's limit (`share`, 1 / number of ingress replicas), so the shares can never
add up to more than the limit. See docs/adr/0004-ceilings.md.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from router.errors import Rejected, RejectReason

MINUTE_S = 60.0

# Charges remembered for refunds, per bucket: 100 bytes each. Past it the oldest
# but one is dropped, which can only make a refund larger by that one dip.
MAX_PEAKS = 1024


@dataclass(frozen=True, slots=True)
class CeilingConfig:
    """A tenant's limits; None means no limit.

    Attributes:
        tokens_per_second: delivered completion tokens, any one-second window.
        tokens_per_minute: prompt and completion tokens.
        requests_per_minute: admitted requests.

    """

    tokens_per_second: float | None = None
    tokens_per_minute: float | None = None
    requests_per_minute: float | None = None

    def shared(self, share: float) -> CeilingConfig:
        """The limits of one of several ingress replicas."""

        def part(limit: float | None) -> float | None:
            return None if limit is None else limit * share

        return CeilingConfig(
            part(self.tokens_per_second),
            part(self.tokens_per_minute),
            part(self.requests_per_minute),
        )


class Bucket:
    """A bucket of tokens that refills at `limit / window_s` up to `limit`.

    The level may go below zero: `charge` books what has happened already. With
    `refunds`, it remembers enough to give charges back (`refundable`).
    """

    def __init__(self, limit: float, window_s: float, *, now: float, refunds: bool = False) -> None:
        self.limit = limit
        self._refunds = refunds
        self._rate = limit / window_s
        self._level = limit
        self._at = now
        # (time, level just before a charge), levels falling: each entry is the
        # highest level from its time on.
        self._peaks: list[tuple[float, float]] = []

    def level(self, *, now: float) -> float:
        """Tokens available now; negative while in debt."""
        if now > self._at:
            self._level = min(self.limit, self._level + (now - self._at) * self._rate)
            self._at = now
        return self._level

    def charge(self, tokens: float, *, now: float) -> None:
        """Take tokens, or give them back when negative."""
        level = self.level(now=now)
        if self._refunds:
            self._remember(now, level)
        self._level = min(self.limit, level - tokens)

    def _remember(self, now: float, level: float) -> None:
        while self._peaks and self._peaks[-1][1] <= level:
            self._peaks.pop()
        self._peaks.append((now, level))
        if len(self._peaks) > MAX_PEAKS:
            del self._peaks[1]

    def refundable(self, tokens: float, *, since: float, now: float) -> float:
        """How much of a charge made at `since` can be given back.

        Had the charge never been made, the bucket would have been fuller all the
        while, and what it could not have held would be lost: at its highest since
        then there was room for `limit - peak` more.
        """
        later = bisect_right(self._peaks, since, key=lambda peak: peak[0])
        peak = max(self.level(now=now), self._peaks[later][1] if later < len(self._peaks) else 0.0)
        return max(0.0, min(tokens, self.limit - peak))

    def forget_peaks(self) -> None:
        """Call when no charge is left that may be given back."""
        self._peaks.clear()

    def wait_s(self, tokens: float, *, now: float) -> float:
        """Seconds until `tokens` are available (a whole bucket counts as enough)."""
        missing = min(tokens, self.limit) - self.level(now=now)
        return max(0.0, missing / self._rate)


@dataclass(frozen=True, slots=True)
class Reservation:
    """What an admitted request holds until it is settled.

    `at` is when it was made, in seconds on the caller's clock.
    """

    tokens: int
    at: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class RateLimitState:
    """What the `x-ratelimit-*` headers say; None where there is no such limit."""

    limit: int
    remaining: int
    reset_s: float


class Pacer:
    """Spaces delivered tokens so that no one-second window exceeds the ceiling.

    A generic cell rate algorithm with a burst of one token: token k may leave no
    earlier than 1/rate after token k-1. Windows of one second then hold at most
    `rate` + 1 tokens.
    """

    def __init__(self, tokens_per_second: float, *, now: float) -> None:
        self._interval_s = 1.0 / tokens_per_second
        self._next = now

    def delay(self, tokens: int, *, now: float) -> float:
        """Book `tokens` for delivery and return the seconds to hold them back."""
        start = max(self._next, now)
        self._next = start + tokens * self._interval_s
        return start - now

    def debt_s(self, *, now: float) -> float:
        """Seconds until everything booked so far has been repaid."""
        return max(0.0, self._next - now)


class TenantCeiling:
    """All ceilings of one tenant in one ingress replica."""

    def __init__(self, config: CeilingConfig, *, now: float) -> None:
        self.config = config
        self.reserved = 0
        self._tokens = _bucket(config.tokens_per_minute, now, refunds=True)
        self._requests = _bucket(config.requests_per_minute, now)
        rate = config.tokens_per_second
        self.pacer = Pacer(rate, now=now) if rate is not None else None

    def try_admit(self, tokens: int, *, now: float) -> Reservation | Rejected:
        """Reserve `tokens` for a request, or say which ceiling refuses it."""
        refused = self.refusal(tokens, now=now)
        if refused is not None:
            return refused
        if self._requests is not None:
            self._requests.charge(1, now=now)
        if self._tokens is not None:
            self._tokens.charge(tokens, now=now)
        self.reserved += tokens
        return Reservation(tokens, now)

    def settle(self, reservation: Reservation, used_tokens: int, *, now: float) -> None:
        """Replace a reservation with what was really used. Call exactly once."""
        self.reserved -= reservation.tokens
        if self._tokens is not None:
            unused = float(reservation.tokens - used_tokens)
            if unused > 0:
                unused = self._tokens.refundable(unused, since=reservation.at, now=now)
            self._tokens.charge(-unused, now=now)
            if self.reserved == 0:
                self._tokens.forget_peaks()

    def requests_state(self, *, now: float) -> RateLimitState | None:
        """Requests left in the minute."""
        return _state(self._requests, now)

    def tokens_state(self, *, now: float) -> RateLimitState | None:
        """Tokens left in the minute."""
        return _state(self._tokens, now)

    def refusal(self, tokens: int, *, now: float) -> Rejected | None:
        """The ceiling that would refuse a request of `tokens` now, if any."""
        if self._requests is not None and (wait := self._requests.wait_s(1, now=now)) > 0:
            return Rejected(
                RejectReason.REQUEST_RATE, "Too many requests: the minute's are spent.", wait
            )
        if self._tokens is not None and (wait := self._tokens.wait_s(tokens, now=now)) > 0:
            return Rejected(RejectReason.TOKEN_RATE, "The minute's tokens are spent.", wait)
        # A stream that is being paced always has its next token booked; only
        # what lies past that is debt left by streams that have ended.
        if self.pacer is not None and (debt := self.pacer.debt_s(now=now)) > 1.0:
            return Rejected(
                RejectReason.TOKEN_RATE, "The tokens-per-second ceiling is overdrawn.", debt
            )
        return None


def _bucket(limit: float | None, now: float, *, refunds: bool = False) -> Bucket | None:
    return None if limit is None else Bucket(limit, MINUTE_S, now=now, refunds=refunds)


def _state(bucket: Bucket | None, now: float) -> RateLimitState | None:
    if bucket is None:
        return None
    level = bucket.level(now=now)
    return RateLimitState(
        int(bucket.limit), max(0, int(level)), bucket.wait_s(bucket.limit, now=now)
    )
