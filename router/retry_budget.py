"""How many retries a fleet may be asked for: so that a dying one is not hammered.

A bucket of retries. Every request puts a share of one in; time puts in a floor, so that
a quiet deployment can retry too; every retry takes one out. Over any time the retries
are at most `burst + floor_per_s * seconds + share * requests`. (The shape of Finagle's
RetryBudget, with a burst large enough for all streams of one replica at once.)
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryBudgetConfig:
    """Limits of the budget.

    Attributes:
        share: retries for each request.
        floor_per_s: retries a second that time alone gives.
        burst: most retries at once.

    """

    share: float = 0.2
    floor_per_s: float = 10.0
    burst: float = 256.0


class RetryBudget:
    """The budget of one ingress replica. `now` is in seconds on the caller's clock."""

    def __init__(self, config: RetryBudgetConfig, *, now: float) -> None:
        self._config = config
        self._level = config.burst
        self._at = now

    def apply(self, config: RetryBudgetConfig) -> None:
        """Use new limits from now on."""
        self._config = config
        self._level = min(self._level, config.burst)

    def note_request(self) -> None:
        """A request has begun."""
        self._add(self._config.share)

    def try_spend(self, *, now: float) -> bool:
        """Take one retry out, unless there is none."""
        if now > self._at:
            self._add((now - self._at) * self._config.floor_per_s)
            self._at = now
        if self._level < 1.0:
            return False
        self._level -= 1.0
        return True

    def _add(self, retries: float) -> None:
        self._level = min(self._config.burst, self._level + retries)
