"""The metrics of agents: their tool calls, bounds, loops, results and tool sets."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from serve_app.metrics.bounded_labels import BoundedLabels

MAX_TOOL_SET_LABELS = 100
"""Versions of tool sets; more are published in a replica's life than are kept."""


class AgentMetrics:
    """Counted by the pipeline and by `ToolRepair`. Label sets are bounded."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        self.tool_calls = counter(
            "pointsman_tool_calls_total",
            "Tool calls of answers, and calls that should have been there, by how they validate.",
            "lane",
            "outcome",
        )
        self.json_answers = counter(
            "pointsman_json_answers_total",
            "Whole answers that were to match a JSON schema, by how they do.",
            "lane",
            "outcome",
        )
        self.tool_repairs = counter(
            "pointsman_tool_repairs_total",
            "Invalid tool calls that a lane was asked to make again, by step and outcome.",
            "lane",
            "step",
            "outcome",
        )
        self.tool_bounds = counter(
            "pointsman_tool_bounds_total",
            "Requests whose task was over a bound, by its setting.",
            "tier",
            "limit",
        )
        self.tool_loops = counter(
            "pointsman_tool_loops_total", "Requests in whose turn a loop was found.", "tier", "kind"
        )
        self.tool_results_cut = counter(
            "pointsman_tool_results_cut_total", "Requests whose tool results were cut.", "tier"
        )
        self.tool_sets = counter(
            "pointsman_tool_set_requests_total",
            "Requests with a named tool set, by its version.",
            "tool_set",
        )
        self._tool_sets = BoundedLabels(MAX_TOOL_SET_LABELS)

    def count_tool_set(self, label: str) -> None:
        self.tool_sets.labels(self._tool_sets.label(label)).inc()
