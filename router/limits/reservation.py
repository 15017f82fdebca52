"""What a request is reckoned at, what it reserves of a minute's tokens, and how that grows.

At any time a running request is charged what it has used, or more; never much more than
half of the limit for what it only may use.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FIRST_SHARE = 0.5
"""Of the minute's tokens, what one request is charged at most before it has used them."""

GROW_TOKENS = 64
"""A running request is charged ahead by so much: not each token by itself."""


@dataclass(frozen=True, slots=True)
class Reckoning:
    """What a request is reckoned at before its engine has counted, in weighted tokens.

    Attributes:
        prompt: an estimate, and sure to be used.
        short: with an answer of usual length, or less where less is asked for.
        whole: with the longest answers that its engine may give.

    """

    prompt: int
    short: int
    whole: int


@dataclass(frozen=True, slots=True)
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
        """The same with so many more."""
        safe = self.safe_tokens + safe_tokens
        return Reservation(self.tokens + tokens, self.at, safe, tokens, now)

    def unused(self, used: int) -> tuple[tuple[float, float], ...]:
        """Tokens to give back, and when they were charged: the newest first.

        One pair with a negative number where more was used than is reserved.
        """
        left = self.tokens - used
        if left <= self.newest:
            return ((left, self.newest_at if self.newest else self.at),)
        return ((self.newest, self.newest_at), (left - self.newest, self.at))


def first_charge(cost: Reckoning, limit: float) -> int:
    """What a request reserves of a minute's `limit` tokens when it is admitted.

    Half of them at most, or its prompt where that is longer: `max_tokens` is a wish, and a
    client that always wishes for more than the limit must find room for a second request.
    """
    return min(cost.whole, max(cost.prompt, int(limit * FIRST_SHARE), 1))


def further_charge(charged: int, used: int, whole: float) -> int:
    """What to charge a running request that has used more than it is charged.

    Some of it ahead, as long as that is not more than it may use in the end (`whole`).
    """
    return max(used - charged, int(min(GROW_TOKENS, whole - charged)))
