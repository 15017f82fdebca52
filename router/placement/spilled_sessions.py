"""Sessions that live away from home, as the replica that holds them knows them.

A session's home is derived; a spilled session is where an ingress put it. The
replica that got it remembers that and publishes it with its load, so other
ingress replicas find the session there. Each move of a session carries a number,
one higher than the last one known, and the claim with the highest number wins:
no clocks are compared between machines.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b


def session_hash(session_key: str) -> str:
    """Return a session's key as it is published: 64 bits, 16 hexadecimal digits."""
    return blake2b(session_key.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


class SpilledSessions:
    """Least-recently-used record of spilled sessions, each with the number of its last move.

    Holds at most `capacity` sessions (about 250 bytes each); one that was not seen for
    `warm_s` seconds is forgotten, as its KV blocks have been by then.
    """

    def __init__(self, capacity: int, warm_s: float) -> None:
        self._capacity = capacity
        self._warm_s = warm_s
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._numbers: dict[str, int] | None = None

    def note(self, key: str, number: int, *, now: float) -> None:
        """Remember a session; an older number than the known one does not count."""
        self._numbers = None
        known = self._seen.pop(key, (0, 0.0))[0]
        self._seen[key] = (max(number, known), now)
        if len(self._seen) > self._capacity:
            self._seen.popitem(last=False)

    def numbers(self, *, now: float) -> Mapping[str, int]:
        """Return the number of each session's last move: the same mapping until that changes."""
        while self._seen and now - next(iter(self._seen.values()))[1] > self._warm_s:
            self._seen.popitem(last=False)
            self._numbers = None
        if self._numbers is None:
            self._numbers = {key: number for key, (number, _) in self._seen.items()}
        return self._numbers
