"""What is counted of summaries, in an ingress replica's registry."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class SummaryMetrics:
    """The counters of one ingress replica."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.summaries = Counter(
            "pointsman_summaries_total",
            "Summaries that requests waited for, by what they stand for and what became of them.",
            ("tier", "kind", "outcome"),
            registry=registry,
        )
        self.results = Counter(
            "pointsman_tool_results_summarised_total",
            "Requests in which summaries stand for tool results.",
            ("tier",),
            registry=registry,
        )
