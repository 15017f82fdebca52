"""A token bucket: a limit per minute that refills continuously.

There is no window edge to wait for. A charge can be given back as far as the bucket would
have had room for it, had it never been made.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from math import inf

MINUTE_S = 60.0

# Charges remembered for refunds, per bucket: 100 bytes each. Past it the oldest
# but one is dropped, which can only make a refund larger by that one dip.
MAX_PEAKS = 1024


@dataclass(frozen=True, slots=True)
class RateLimitState:
    """What the `x-ratelimit-*` headers say; None where there is no such limit."""

    limit: int
    remaining: int
    reset_s: float


class Bucket:
    """A bucket of tokens that refills at `limit` a minute, up to `limit`.

    The level may go below zero: `charge` books what has happened already.

    Args:
        refunds: remember enough to give charges back (`refundable`).

    Attributes:
        peaks: (time, level just before a charge), levels falling: each entry is the
            highest level from its time on. At most `MAX_PEAKS`.

    """

    def __init__(self, limit: float, *, now: float, refunds: bool = False) -> None:
        self.limit = limit
        self._refunds = refunds
        self._rate = limit / MINUTE_S
        self._level = limit
        self._at = now
        self.peaks: list[tuple[float, float]] = []

    def resize(self, limit: float, *, now: float) -> None:
        """Change the limit; what is spent of the old one is spent of the new one."""
        more = limit - self.limit
        self._level = self.level(now=now) + more
        self.peaks = [(at, level + more) for at, level in self.peaks]
        self.limit, self._rate = limit, limit / MINUTE_S

    @property
    def most(self) -> float:
        """The most tokens that can be available at once."""
        return self.limit

    def level(self, *, now: float) -> float:
        """Tokens available now; negative while in debt."""
        if now > self._at:
            filled = self._level + (now - self._at) * self._rate
            self._level = filled if filled < self.limit else self.limit
            self._at = now
        return self._level

    def charge(self, tokens: float, *, now: float) -> float:
        """Take tokens; a negative number is given back.

        Returns how many came from a safe capacity: none, for there is none here.
        """
        level = self._level if now <= self._at else self.level(now=now)
        if self._refunds:
            self._remember(now, level)
        left = level - tokens
        self._level = left if left < self.limit else self.limit
        return 0.0

    def give_back(self, unused: float, _safe: float, /, *, since: float, now: float) -> None:
        """Give back what a charge made at `since` did not use; negative: it used more.

        `_safe` is what `charge` has returned for it.
        """
        self.charge(-min(unused, self.refundable(unused, since=since, now=now)), now=now)

    def _remember(self, now: float, level: float) -> None:
        while self.peaks and self.peaks[-1][1] <= level:
            self.peaks.pop()
        self.peaks.append((now, level))
        if len(self.peaks) > MAX_PEAKS:
            del self.peaks[1]

    def refundable(self, tokens: float, *, since: float, now: float) -> float:
        """Return how many tokens of a charge made at `since` can be given back.

        Had the charge never been made, the bucket would have been fuller all the
        while, and what it could not have held would be lost: at its highest since
        then there was room for `limit - peak` more.
        """
        # No level is so high: the place is behind all that are as old.
        later = bisect_right(self.peaks, (since, inf))
        peak = max(self.level(now=now), self.peaks[later][1] if later < len(self.peaks) else 0.0)
        return max(0.0, min(tokens, self.limit - peak))

    def correct(self, level: float, *, now: float) -> None:
        """Set the level, where it is known better: others draw on the same limit."""
        before = self.level(now=now)
        if self._refunds and level < before:
            self._remember(now, before)
        self._level = min(self.limit, level)

    def forget_peaks(self) -> None:
        """Forget old levels; to be called when no charge is left that may be given back."""
        self.peaks.clear()

    def wait_s(self, tokens: float, *, now: float) -> float:
        """Return the seconds until `tokens` are available; a whole bucket is always enough."""
        level = self._level if now <= self._at else self.level(now=now)
        missing = (tokens if tokens < self.limit else self.limit) - level
        return missing / self._rate if missing > 0 else 0.0

    def state(self, *, now: float) -> RateLimitState:
        """Return what is left, and how long it takes until the bucket is full."""
        left = max(0, int(self.level(now=now)))
        return RateLimitState(int(self.limit), left, self.wait_s(self.limit, now=now))
