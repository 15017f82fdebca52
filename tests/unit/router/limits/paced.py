"""What a pacer says of tokens as they come."""

from router.limits.pacer import Pacer


def delay(pacer: Pacer, tokens: int, *, now: float) -> float:
    """Book tokens and return the seconds to hold them back."""
    return pacer.wait_s(pacer.book(tokens, now=now), now=now)
