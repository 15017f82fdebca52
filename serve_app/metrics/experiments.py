"""The metric of requests in experiments, counted where they end."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from serve_app.metrics.bounded_labels import BoundedLabels

MAX_EXPERIMENT_LABELS = 16
"""As many as a fleet file can have; those after them, over reloads, are `other`."""

OUTCOMES = (
    "answered",
    "failed",
    "left",
    "late",
    "dropped_full",
    "dropped_at_once",
    "unfit",
)
"""Ends of divided requests, and what became of copies."""


class ExperimentMetrics:
    """Counted by the settlement and by `Shadowing`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "pointsman_experiment_requests_total",
            "Requests of an experiment's arms, and copies of a shadow, by how they ended.",
            ["experiment", "arm", "outcome"],
            registry=registry,
        )
        self._names = BoundedLabels(MAX_EXPERIMENT_LABELS)

    def count(self, experiment: str, arm: str, outcome: str) -> None:
        """Count one that has ended; `outcome`: as the counts of experiments name it."""
        name = self._names.label(experiment)
        self.requests.labels(name, arm, outcome.replace(":", "_")).inc()
