"""What a request is estimated at, what it reserves of a minute's tokens, and how that grows.

At any time a running request is charged what it has used, or more. It is never charged much
more than half of the limit for an answer that it may not give.
"""

from __future__ import annotations

from dataclasses import field

from router.types import record

FIRST_SHARE = 0.5
"""Share of the minute's tokens that one request is charged at most before it has used them."""

GROW_TOKENS = 64
"""A running request is charged ahead by so many tokens, not for each token by itself."""


@record
class Reckoning:
    """An estimate of a request's weighted tokens, before its engine has counted them.

    Attributes:
        prompt: an estimate, and sure to be used.
        short: with an answer of usual length, or less where less is asked for.
        whole: with the longest answers that its engine may give.

    """

    prompt: int
    short: int
    whole: int


@record
class Reservation:
    """What an admitted request holds until it is settled.

    Attributes:
        tokens: charged so far.
        at: when it was made, in seconds on the caller's clock.
        safe_tokens: how much of it came from the safe capacity of a leased ceiling.
        newest: of `tokens`, what was charged last, if it has grown.
        newest_at: when that was.

    """

    tokens: int
    at: float = field(default=0.0, compare=False)
    safe_tokens: float = field(default=0.0, compare=False)
    newest: int = field(default=0, compare=False)
    newest_at: float = field(default=0.0, compare=False)

    def grown(self, tokens: int, safe_tokens: float, *, now: float) -> Reservation:
        safe = self.safe_tokens + safe_tokens
        return Reservation(self.tokens + tokens, self.at, safe, tokens, now)

    def unused(self, used: int) -> tuple[tuple[float, float], ...]:
        """Return pairs of tokens to give back and the time they were charged at, newest first.

        There is one pair with a negative number where more was used than is reserved.
        """
        left = self.tokens - used
        if left <= self.newest:
            return ((left, self.newest_at if self.newest else self.at),)
        return ((self.newest, self.newest_at), (left - self.newest, self.at))


def first_charge(cost: Reckoning, limit: float) -> int:
    """Return what a request reserves of a minute's `limit` tokens when it is admitted.

    That is half of them at most, or the prompt where it is longer. `max_tokens` is a wish: a
    client that always wishes for more than the limit must find room for a second request.
    """
    return min(cost.whole, max(cost.prompt, int(limit * FIRST_SHARE), 1))


def further_charge(charged: int, used: int, whole: float) -> int:
    """Return what to charge a running request that has used more than it is charged.

    Some is charged ahead, as long as that is not more than it may use in the end (`whole`).
    """
    return max(used - charged, int(min(GROW_TOKENS, whole - charged)))
