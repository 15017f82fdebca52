"""Reading the few families of a Prometheus text that the page shows.

Samples of the ingress replicas are added up: each has its own part of the traffic.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

from serve_app.metrics.expositions import labels_of, samples_of

LARGEST = frozenset(
    {
        "pointsman_trigger_firing",
        "pointsman_escalation_share",
        "pointsman_escalation_threshold",
        "pointsman_escalation_yield",
        "pointsman_slo_burn_rate",
    }
)
"""Gauges that each ingress replica has of the whole: the largest is shown, no sum."""

SMALLEST = frozenset({"pointsman_slo_budget_left_ratio"})
"""The same, where the smallest is the one to show."""

SAMPLES: dict[str, tuple[str, ...]] = {
    "pointsman_requests_total": ("lane", "code"),
    "pointsman_shed_total": ("tier", "code"),
    "pointsman_shed_order_violations_total": (),
    "pointsman_queue_depth": ("lane", "tier"),
    "pointsman_tokens_total": ("tenant", "kind"),
    "pointsman_stream_recoveries_total": ("outcome",),
    "pointsman_breakers_opened_total": ("lane",),
    "pointsman_requests_in_flight": (),
    "pointsman_websockets": (),
    "pointsman_active_sessions": ("lane",),
    "pointsman_recent_sessions": ("lane",),
    "pointsman_session_affinity_total": ("outcome",),
    "pointsman_trigger_firing": ("trigger",),
    "pointsman_escalation_share": ("lane",),
    "pointsman_escalation_threshold": ("lane",),
    "pointsman_escalation_yield": ("lane",),
    "pointsman_slo_burn_rate": ("objective", "lane", "tier", "window"),
    "pointsman_slo_budget_left_ratio": ("objective", "lane", "tier"),
    "pointsman_engine_stalled": ("lane", "replica"),
    "vllm:num_requests_running": ("lane", "replica"),
    "vllm:num_requests_waiting": ("lane", "replica"),
    "vllm:kv_cache_usage_perc": ("lane", "replica"),
    "vllm:generation_tokens_total": ("lane", "replica"),
    "vllm:prompt_tokens_total": ("lane", "replica"),
    "vllm:num_preemptions_total": ("lane", "replica"),
}
"""Families and the labels that are kept of them; over all others their samples are added up."""

HISTOGRAMS: dict[str, str] = {
    "pointsman_time_to_first_token_seconds": "lane",
    "pointsman_inter_token_latency_seconds": "lane",
    "pointsman_request_duration_seconds": "lane",
    "pointsman_stage_seconds": "stage",
}
"""Histograms and the one label that is kept of each."""

ONE_EACH = "pointsman_requests_in_flight"
"""A family of which each ingress replica has one sample."""

Key = tuple[str, ...]


@dataclass
class Figures:
    """What was read.

    Attributes:
        samples: by family and values of the labels kept.
        buckets: cumulative counts by histogram, value of its label, and bound as it is written.
        ingresses: ids of the ingress replicas that answered.

    """

    samples: dict[str, dict[Key, float]] = field(default_factory=dict)
    buckets: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    ingresses: set[str] = field(default_factory=set)

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """Return the samples as rows of labels and `value`."""
        return {
            family: [
                {**dict(zip(SAMPLES[family], key, strict=True)), "value": value}
                for key, value in values.items()
            ]
            for family, values in self.samples.items()
        }

    def histograms(self) -> dict[str, dict[str, Any]]:
        """Return bounds, the last of them None for infinity, and cumulative counts."""
        return {
            family: {name: _ordered(counts) for name, counts in of_label.items()}
            for family, of_label in self.buckets.items()
        }


_WANTED = frozenset({*SAMPLES, *(f"{name}_bucket" for name in HISTOGRAMS)})


def read(text: str) -> Figures:
    """Read a text in the exposition format, as `/metrics` answers it."""
    figures = Figures()
    for name, written, value in samples_of(text, _WANTED):
        key, histogram = _key(name, written), name.removesuffix("_bucket")
        if name == ONE_EACH:
            figures.ingresses.add(labels_of(written).get("ingress", ""))
        if histogram in HISTOGRAMS:
            counts = figures.buckets.setdefault(histogram, {}).setdefault(key[0], {})
            counts[key[1]] = counts.get(key[1], 0.0) + value
        else:
            _add(figures, name, key, value)
    return figures


@functools.lru_cache(maxsize=20_000)
def _key(name: str, written: str) -> Key:
    """Return the labels that are kept; the same are read every second."""
    labels = labels_of(written)
    label = HISTOGRAMS.get(name.removesuffix("_bucket"))
    if label is not None:
        return labels.get(label, ""), labels.get("le", "+Inf")
    return tuple(labels.get(x, "") for x in SAMPLES[name])


def _add(figures: Figures, name: str, key: Key, value: float) -> None:
    family = figures.samples.setdefault(name, {})
    before = family.get(key)
    if before is None:
        family[key] = value
    elif name in LARGEST:
        family[key] = max(before, value)
    elif name in SMALLEST:
        family[key] = min(before, value)
    else:
        family[key] = before + value


def _ordered(counts: dict[str, float]) -> dict[str, list[float | None]]:
    pairs = sorted((float(le), count) for le, count in counts.items())
    bounds = [None if le == float("inf") else le for le, _ in pairs]
    return {"bounds": bounds, "counts": [count for _, count in pairs]}
