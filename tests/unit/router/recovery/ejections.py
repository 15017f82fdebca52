"""What a lane's breakers keep of one replica."""

from router.recovery.breaker import Breakers


def is_ejected(breakers: Breakers, replica: str) -> bool:
    """Return whether a replica was ejected and has not answered since."""
    breaker = breakers.replicas.get(replica)
    return breaker is not None and breaker.is_open
