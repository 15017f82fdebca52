"""Which replica of a lane keeps a session: rendezvous hashing.

Each (session, replica) pair gets a pseudo-random weight and the session goes to
the replica with the largest one (Thaler and Ravishankar, "Using Name-Based
Mappings to Increase Hit Rates", IEEE/ACM ToN 1998). The choice depends on the
two names alone, so every ingress replica makes the same one with no shared
table, and when one of N replicas leaves, only its own sessions (about 1/N) move.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b


def weight(session_key: str, replica_id: str) -> bytes:
    """Return a uniform 64-bit weight of the pair, as 8 big-endian bytes."""
    return blake2b(f"{session_key}\0{replica_id}".encode(), digest_size=8).digest()


def rank_replicas(
    session_key: str, replica_ids: Sequence[str], avoid: frozenset[str] = frozenset()
) -> list[str]:
    """Return the live replicas in the order in which this session should try them.

    Those to `avoid` have failed this request already, and come last.
    """
    if len(replica_ids) <= 1:
        return list(replica_ids)
    ranked = sorted(replica_ids, key=lambda replica: weight(session_key, replica), reverse=True)
    return sorted(ranked, key=avoid.__contains__) if avoid else ranked
