"""Session keys, which sessions are at work, and a bounded memory of where sessions went.

The key decides the replica, so it must be the same wherever it is computed: it
comes from what the client sends, never from the process. The memory only feeds
`recent_sessions` and `session_affinity_total`; losing it changes no decision.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from enum import StrEnum
from hashlib import blake2b

MAX_SESSION_ID_CHARS = 256


class Affinity(StrEnum):
    """What became of a session's stickiness on one request."""

    NEW = "new"
    HIT = "hit"
    MOVED = "moved"
    SPILLED = "spilled"


def is_session_id(text: str) -> bool:
    """Return whether `text` is a session id: 1 to 256 printable characters."""
    return 0 < len(text) <= MAX_SESSION_ID_CHARS and text.isprintable()


def derive_session_id(*opening: str) -> str:
    """Return a session id from the start of a conversation: `derived-` and 16 hex digits.

    The `opening` is the tenant, the stable part of the system prompt
    (`router.stable_text.stable_text`) and the first user message. They stay the same over
    all turns of one conversation, so an unmodified client sticks.
    """
    digest = blake2b("\0".join(opening).encode("utf-8", "surrogatepass"), digest_size=8)
    return f"derived-{digest.hexdigest()}"


def session_key(tenant: str, session_id: str) -> str:
    """Return the session's name across tenants: no tenant can reach another's."""
    return f"{tenant}\0{session_id}"


class SessionMemory:
    """Least-recently-used memory of session to (lane, replica).

    Holds at most `capacity` sessions (about 300 bytes each), each until `ttl_s` seconds
    after its last request.
    """

    def __init__(self, capacity: int, ttl_s: float) -> None:
        self._capacity, self._ttl_s = capacity, ttl_s
        # Lane, replica and time of each session's last request.
        self._seen: OrderedDict[str, tuple[str, str, float]] = OrderedDict()
        self._recent: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._seen)

    def note(
        self, key: str, lane: str, replica: str, *, now: float, spilled: bool = False
    ) -> Affinity:
        """Record where a session went; return how that compares with last time.

        `spilled`: the load bound sent it there, past the replica it would have had.
        """
        self.expire(now=now)
        before = self._seen.pop(key, None)
        if before is not None:
            self._recent[before[0]] -= 1
        self._seen[key] = lane, replica, now
        self._recent[lane] += 1
        if len(self._seen) > self._capacity:
            self._forget_oldest()
        if spilled:
            return Affinity.SPILLED
        if before is None:
            return Affinity.NEW
        return Affinity.HIT if before[1] == replica else Affinity.MOVED

    def expire(self, *, now: float) -> None:
        while self._seen and now - next(iter(self._seen.values()))[2] > self._ttl_s:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, (lane, _, _) = self._seen.popitem(last=False)
        self._recent[lane] -= 1

    def recent(self, *, now: float) -> dict[str, int]:
        self.expire(now=now)
        return {lane: count for lane, count in self._recent.items() if count}


class Presence:
    """Counts the sessions that generate or wait right now; memory: one entry for each."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str], int] = {}

    def enter(self, lane: str, key: str) -> None:
        self._requests[lane, key] = self._requests.get((lane, key), 0) + 1

    def leave(self, lane: str, key: str) -> None:
        """Count a request that has its answer, or is gone: once for each `enter`."""
        left = self._requests.pop((lane, key)) - 1
        if left:
            self._requests[lane, key] = left

    def active(self) -> dict[str, int]:
        """Return sessions per lane, each once, however many requests it has open."""
        return Counter(lane for lane, _ in self._requests)
