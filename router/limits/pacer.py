"""Delivered tokens a second, in one ingress replica.

A generic cell rate algorithm with a burst of one token, in virtual time: a clock counts
the tokens that the rate has allowed so far, each booked token has a position on it, and
may leave when the clock has reached that. Any window of one second then holds at most
what the rate allows in it and one token more. A position is not a time: when the rate
changes while tokens wait, so does the time at which they leave.

A rate may be promised for a while only (`Step`), and the clock keeps to that by itself:
a lease that nobody renews runs down without anyone looking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from router.limits.contention import Contention

FOREVER = float("inf")

DUE = -FOREVER
"""The position of what may go now: no clock has yet to reach it."""

# A token's position may be missed by so much: sums of floats.
TINY_TOKENS = 1e-9


@dataclass(frozen=True, slots=True)
class Step:
    """Tokens a second until a time."""

    until: float
    rate: float


NOTHING = Step(FOREVER, 0.0)


class Paces(Protocol):
    """What a stream needs of its tenant's pacer."""

    def book(self, tokens: int, *, now: float) -> float:
        """Book tokens for delivery; return the position of the first."""

    def hold(self, tokens: int, *, now: float) -> float:
        """Book what goes out together; return the position of the last, or `DUE`: go now."""

    def wait_s(self, position: float, *, now: float) -> float:
        """Return the seconds until a position is reached, as the rates stand; `inf`: unknown."""


class Pacer:
    """Spaces delivered tokens by a rate that may change.

    Attributes:
        booked: tokens in all, paced or not.

    """

    def __init__(self, tokens_per_second: float, *, now: float) -> None:
        self._steps: list[Step] = [Step(FOREVER, tokens_per_second)]
        self._clock = 0.0
        self._at = now
        self._next = 0.0
        self.booked = 0

    def set_steps(self, steps: Sequence[Step], *, now: float) -> None:
        """Set the rates from now on; after the last step nothing is delivered."""
        self._advance(now)
        self._steps = [step for step in steps if step.until > now] + [NOTHING]

    def book(self, tokens: int, *, now: float) -> float:
        self._advance(now)
        position = max(self._clock, self._next)
        self._next = position + tokens
        self.booked += tokens
        return position

    def hold(self, tokens: int, *, now: float) -> float:
        # As `book`, without a call: a server does this for each event of each stream.
        if self._at < now:
            self._advance(now)
        clock = self._clock
        position = clock if clock > self._next else self._next
        self._next = position + tokens
        self.booked += tokens
        if tokens > 1:
            position += tokens - 1
        return position if position - clock > TINY_TOKENS else DUE

    def wait_s(self, position: float, *, now: float) -> float:
        self._advance(now)
        return self._wait_s(position - self._clock, now)

    def backlog(self, *, now: float) -> float:
        """Return the tokens booked that the rate has not allowed yet."""
        self._advance(now)
        return max(0.0, self._next - self._clock)

    def rate(self, *, now: float) -> float:
        """Return the tokens a second that are allowed now."""
        self._advance(now)
        return self._steps[0].rate

    def debt_s(self, *, now: float) -> float:
        """Return the seconds until everything booked so far has been repaid."""
        return self._wait_s(self.backlog(now=now), now)

    def let_pass(self, tokens: int, *, now: float) -> None:
        """Count tokens that go out unpaced, with nothing owed for them.

        What is owed already stays owed: it may be another lane's, where the limit binds.
        """
        self._advance(now)
        self.booked += tokens

    def _wait_s(self, tokens: float, now: float) -> float:
        if tokens <= TINY_TOKENS:
            return 0.0
        at = now
        for step in self._steps:
            allowed = (step.until - at) * step.rate if step.rate else 0.0
            if allowed >= tokens:
                return at + tokens / step.rate - now
            tokens -= allowed
            at = step.until
        return FOREVER

    def _advance(self, now: float) -> None:
        while self._at < now:
            step = self._steps[0]
            end = step.until if step.until < now else now
            self._clock += (end - self._at) * step.rate
            self._at = end
            if end == step.until:
                del self._steps[0]


class ContendedPacer:
    """A tenant's pacer that binds only while a lane is contended."""

    __slots__ = ("_contention", "_pacer")

    def __init__(self, pacer: Pacer, contention: Contention) -> None:
        self._pacer, self._contention = pacer, contention

    def book(self, tokens: int, *, now: float) -> float:
        """Book tokens; while the lane is not contended they are due at once, and not owed."""
        if self._contention.is_contended:
            return self._pacer.book(tokens, now=now)
        self._pacer.let_pass(tokens, now=now)
        return DUE

    def hold(self, tokens: int, *, now: float) -> float:
        if self._contention.is_contended:
            return self._pacer.hold(tokens, now=now)
        self._pacer.let_pass(tokens, now=now)
        return DUE

    def wait_s(self, position: float, *, now: float) -> float:
        if not self._contention.is_contended:
            return 0.0
        return self._pacer.wait_s(position, now=now)
