"""What one ingress replica counts, and how it is told as a Prometheus text."""

from __future__ import annotations

from serve_app.metrics.agents import AgentMetrics
from serve_app.metrics.bounded_labels import OTHER
from serve_app.metrics.expositions import label_exposition, merge_expositions
from serve_app.metrics.loop_histogram import LoopHistogram, Series
from serve_app.metrics.metrics import MAX_TENANT_LABELS, Metrics
from serve_app.metrics.shared_call import SharedCall

__all__ = [
    "MAX_TENANT_LABELS",
    "OTHER",
    "AgentMetrics",
    "LoopHistogram",
    "Metrics",
    "Series",
    "SharedCall",
    "label_exposition",
    "merge_expositions",
]
