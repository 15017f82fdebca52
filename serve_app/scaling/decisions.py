"""The last decision for each lane, from Serve's controller to whoever tells of it.

It is in the key-value store of Ray's control plane, where Serve keeps its own state: written
when it changes, read when somebody asks. A lost or foreign entry is no decision.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

from ray.experimental.internal_kv import _internal_kv_initialized

from router.scaling.lane_load import Decision
from serve_app.scaling import control_store

_KEY = "scaling:"


def publish(lane: str, decision: Decision) -> None:
    """Keep it for those who ask; a call of about a millisecond."""
    told = {
        "target": decision.target,
        "reason": decision.reason.value,
        "demand": None if decision.demand is None else round(decision.demand, 2),
        "at": round(time.time(), 1),  # noqa: TID251  # for people
    }
    control_store.put(f"{_KEY}{lane}", json.dumps(told).encode())


def last(lanes: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the last decision of each lane that has one; for a thread."""
    found = {}
    for lane in lanes if _internal_kv_initialized() else ():
        said = control_store.get(f"{_KEY}{lane}")
        if said is not None:
            found[lane] = json.loads(said)
    return found
