"""How the scaled lanes stand: their replicas by state, the target and why it is that."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

logger = logging.getLogger("ray.serve")

States = Callable[[], Awaitable[Mapping[str, Mapping[str, Any]]]]
"""Returns, by deployment, Serve's replicas by `states`."""

Last = Callable[[Iterable[str]], Mapping[str, Mapping[str, Any]]]
"""Returns the policy's last decision for each lane; for a thread."""

_STATES = {"RUNNING": "ready", "PENDING_MIGRATION": "ready", "STOPPING": "draining"}
"""Of Serve's states; a replica in another one is starting."""

GAUGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "pointsman_lane_replicas": (
        "Replicas of a lane that is scaled: ready, starting, draining, and the target.",
        ("lane", "state"),
    ),
    "pointsman_lane_scaling_reason": (
        "1 for the reason of the last decision about a lane's replicas.",
        ("lane", "reason"),
    ),
}
"""Metrics of the deployment as a whole, by name: what they are, and their labels."""


class Standing:
    """Tells of the lanes that are scaled; of none, it asks nobody.

    Args:
        least: by lane, the target before the first decision.

    """

    def __init__(self, least: Mapping[str, int], states: States, last: Last) -> None:
        self._least, self._states, self._last = least, states, last

    async def rows(self) -> dict[str, dict[str, Any]]:
        """Return by lane: `ready`, `starting`, `draining`, `target`, and the last decision."""
        if not self._least:
            return {}
        states, decided = await asyncio.gather(self._states(), asyncio.to_thread(self._decisions))
        return {lane: self._row(lane, states, decided.get(lane, {})) for lane in self._least}

    def _decisions(self) -> Mapping[str, Mapping[str, Any]]:
        try:
            return self._last(self._least)
        except Exception:
            logger.exception("the last decisions about replicas cannot be read")
            return {}

    def _row(
        self, lane: str, states: Mapping[str, Mapping[str, Any]], decided: Mapping[str, Any]
    ) -> dict[str, Any]:
        counts = {"ready": 0, "starting": 0, "draining": 0}
        for state, count in states.get(f"lane:{lane}", {}).get("states", {}).items():
            counts[_STATES.get(state, "starting")] += count
        return {
            **counts,
            "target": decided.get("target", self._least[lane]),
            "reason": decided.get("reason"),
            "demand": decided.get("demand"),
            "decided_at": decided.get("at"),
        }


def gauges_text(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the Prometheus text of `GAUGES`."""
    if not rows:
        return ""
    return generate_latest(_Gauges(rows)).decode()


class _Gauges(Collector):
    def __init__(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        self._rows = rows

    def collect(self) -> Iterable[GaugeMetricFamily]:
        replicas, reasons = (
            GaugeMetricFamily(name, text, labels=labels) for name, (text, labels) in GAUGES.items()
        )
        for lane, row in self._rows.items():
            for state in ("ready", "starting", "draining", "target"):
                replicas.add_metric((lane, state), row[state])
            if row["reason"] is not None:
                reasons.add_metric((lane, row["reason"]), 1)
        return replicas, reasons


async def no_states() -> Mapping[str, Mapping[str, Any]]:
    return {}


def not_scaled() -> Standing:
    """No lane is scaled."""
    return Standing({}, no_states, lambda _: {})
