"""What a lane replica tells the autoscaling policy, and how the policy reads it.

Streams do not pass through Serve, so its own count of ongoing requests is blind here. Serve
collects these figures in their place: every `EVERY_S` from `record_autoscaling_stats`, as time
series by name and replica.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Protocol

from router.scaling.throughput import ReplicaReading
from serve_app.scaling.demand import Told

EVERY_S = 2.0
"""How often a replica is asked, and how often it sends what it said."""

UNKNOWN = -1.0
"""Serve takes numbers only."""


class Stamped(Protocol):
    """Serve's `TimeStampedValue`."""

    timestamp: float
    value: float


Series = Mapping[str, Mapping[Any, Sequence[Stamped]]]
"""`AutoscalingContext.raw_metrics`: by metric and replica, in order of time."""

Found = Mapping[str, tuple[float, Mapping[str, float]]]
"""By replica, the stamp of what it said last, and that."""


def stats_of(
    row: Mapping[str, Any], tokens: float, served: int, told: Told | None, start_up_s: float
) -> dict[str, float]:
    """Return what one replica tells.

    Args:
        row: its engine's load (`EngineSignals.load`).
        tokens: that its engine has read and generated since it started.
        served: requests since it started.
        told: what the ingress replicas want of the lane.
        start_up_s: what its start took.

    """
    # The engine counts the requests that wait in it, not their tokens.
    in_engine = row["waiting"] * tokens / served if served else 0.0
    return {
        "running": float(row["running"]),
        "waiting": float(row["waiting"]),
        "kv_utilization": float(row["kv_utilization"]),
        "tokens": float(tokens),
        "queued_in_engine_tokens": float(in_engine),
        "queued_tokens": told.queued_tokens if told else 0.0,
        "offered_tokens_per_s": told.offered_tokens_per_s if told else UNKNOWN,
        "start_up_s": start_up_s,
    }


@dataclass(frozen=True, slots=True)
class LaneReadings:
    """The newest figures of all replicas of a lane that have some.

    Attributes:
        by_replica: what `Throughput` is told.
        queued_tokens, offered_tokens_per_s, start_up_s: as in `LaneLoad`.

    """

    by_replica: Mapping[str, ReplicaReading]
    queued_tokens: float
    offered_tokens_per_s: float | None
    start_up_s: float

    @property
    def running(self) -> float:
        return sum(x.running for x in self.by_replica.values())

    @property
    def kv_utilization(self) -> float:
        return fmean(x.kv_utilization for x in self.by_replica.values())


def newest(series: Series) -> Found:
    """Return what each replica that has told everything said last, and its stamp of then."""
    found = {}
    for replica, points in series.get("running", {}).items():
        told = {name: of[replica][-1].value for name, of in series.items() if of.get(replica)}
        if points and told.keys() >= _NAMES:
            found[str(replica)] = points[-1].timestamp, told
    return found


def summed(found: Found) -> LaneReadings:
    """Return the lane's figures from those of one replica or more."""
    told = [x for _, x in found.values()]
    # Every ingress replica tells every lane replica the same; one may have missed the last.
    offered = max(x["offered_tokens_per_s"] for x in told)
    queued = max(x["queued_tokens"] for x in told)
    return LaneReadings(
        by_replica={
            name: ReplicaReading(at, x["tokens"], x["running"], x["waiting"], x["kv_utilization"])
            for name, (at, x) in found.items()
        },
        queued_tokens=queued + sum(x["queued_in_engine_tokens"] for x in told),
        offered_tokens_per_s=None if offered == UNKNOWN else offered,
        # The first start of all fetches the weights; later ones are the rule.
        start_up_s=min(x["start_up_s"] for x in told),
    )


class Arrivals:
    """Tells what is fresh by this machine's clock: those of other nodes may be off."""

    def __init__(self, stale_s: float) -> None:
        self._stale_s = stale_s
        self._came: dict[str, tuple[float, float]] = {}

    def fresh(self, found: Found, now: float) -> Found:
        """Return the replicas that have said something new in the last `stale_s`."""
        came = self._came
        self._came = {
            name: came[name] if came.get(name, (None,))[0] == at else (at, now)
            for name, (at, _) in found.items()
        }
        return {k: x for k, x in found.items() if now - self._came[k][1] <= self._stale_s}


_NAMES = stats_of({"running": 0, "waiting": 0, "kv_utilization": 0}, 0, 0, None, 0).keys()
