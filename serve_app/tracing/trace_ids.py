"""Which trace a request belongs to, where its client does not say it.

Every ingress replica has to find the same, and so does one that has just started: the id is
made of what the client sends and the deployment's secret. Without that secret nobody can
make an id that falls into another tenant's trace, or tell from an id whose it is.

A trace is one task's in one day, or in one hour where the task has no id of its own but how
its conversation begins. Otherwise what always begins alike (a health check, every "Hi" of a
team) would be one trace for ever.
"""

from __future__ import annotations

import hmac
import random
from collections.abc import Callable
from hashlib import blake2b

NAMED_S = 86_400
DERIVED_S = 3_600

_NS = 10**9
_LOW_64 = 2**64 - 1


class TraceIds:
    """Makes the ids of one deployment's traces; `secret` is the deployment's."""

    def __init__(self, secret: str) -> None:
        key = hmac.digest(secret.encode(), b"trace ids", "sha256")
        self._begun = blake2b(key=key, digest_size=16)

    def of_task(self, tenant: str, task: str | bytes, now_ns: int, *, is_named: bool) -> int:
        """Return the id of a task's trace; `is_named`: the client has named task or session."""
        period_s = NAMED_S if is_named else DERIVED_S
        name = task if isinstance(task, bytes) else task.encode("utf-8", "surrogatepass")
        made = self._begun.copy()
        owner = tenant.encode()
        # With its length in front: no two pairs of tenant and task are the same bytes.
        head = f"{len(owner)}:{int(is_named)}:{now_ns // (period_s * _NS)}:"
        made.update(head.encode() + owner + name)
        return int.from_bytes(made.digest()) or 1


def span_ids(rng: random.Random) -> Callable[[], int]:
    """Return what makes the ids of spans: 64 random bits, never 0."""
    return lambda: rng.getrandbits(64) or 1


def is_kept(trace_id: int, ratio: float) -> bool:
    """Whether a trace is in the share that is kept, as OpenTelemetry's ratio sampler decides."""
    return trace_id & _LOW_64 < round(ratio * (_LOW_64 + 1))
