"""How the experiments of a deployment stand, as metrics of the deployment as a whole.

Each ingress replica knows what all of them counted, so the one that is asked tells it once.
Totals are no counters here: two replicas may be a round apart, and a counter that falls by one
is taken for a restart. Requests are counted where they end (`serve_app.metrics.experiments`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from router.experiments.experiment import TREATMENT
from router.experiments.guard import rail_of

Row = Mapping[str, Any]
"""One experiment, as `ExperimentKeeper.rows` tells it."""

GAUGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "pointsman_experiment_state": (
        "1 for the state that an experiment is in: waiting, running, stopped or ended.",
        ("experiment", "state"),
    ),
    "pointsman_experiment_arm_stopped": (
        "1 while an arm is stopped by a guard rail: until its entry in the fleet file changes.",
        ("experiment", "arm", "rail"),
    ),
    "pointsman_experiment_ratings": (
        "Ratings that a test is made of, ties left out; of a switchback, blocks.",
        ("experiment", "metric"),
    ),
    "pointsman_experiment_estimate": (
        "Share of preferences for the treatment (0.5: equal), or by how much thumbs up differ.",
        ("experiment", "metric"),
    ),
    "pointsman_experiment_evidence": (
        "Log of the e-value over that of 1/alpha: at 1 a test decides; below 0: for no difference.",
        ("experiment", "metric"),
    ),
    "pointsman_experiment_decided": (
        "1 once the test that decides an experiment has decided, else 0.",
        ("experiment",),
    ),
}
"""Metrics of the deployment as a whole, by name: what they are, and their labels."""


def gauges_text(rows: Sequence[Row]) -> str:
    """Return the Prometheus text of `GAUGES`; there are as many experiments as the file has."""
    if not rows:
        return ""
    return generate_latest(_Gauges(rows)).decode()


class _Gauges(Collector):
    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def collect(self) -> Iterable[GaugeMetricFamily]:
        families = {
            name: GaugeMetricFamily(name, text, labels=labels)
            for name, (text, labels) in GAUGES.items()
        }
        state, stopped, ratings, estimate, evidence, decided = families.values()
        for row in self._rows:
            name, report = row["name"], row["report"]
            state.add_metric([name, row["state"]], 1)
            # When its days are over nobody has to do anything about it.
            if row["state"] == "stopped":
                stopped.add_metric([name, TREATMENT, rail_of(row["stopped_why"])], 1)
            if report is None:
                continue
            own = report["tests"].get(row["metric"], {})
            decided.add_metric([name], float(own.get("decided_at") is not None))
            for metric, test in report["tests"].items():
                ratings.add_metric([name, metric], test["n"])
                evidence.add_metric([name, metric], _evidence(test))
                if test["estimate"] is not None:
                    estimate.add_metric([name, metric], test["estimate"])
        return families.values()


def _evidence(test: Mapping[str, Any]) -> float:
    e_value = test["e_value"]
    log = math.log(e_value) if e_value > 0 else -math.inf
    return log / -math.log(test["alpha"])
