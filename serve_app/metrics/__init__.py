"""What one ingress replica counts, and how it is told as a Prometheus text."""

from __future__ import annotations

from serve_app.metrics.metrics import (
    MAX_TENANT_LABELS,
    OTHER,
    LoopHistogram,
    Metrics,
    Series,
    merge_expositions,
)

__all__ = [
    "MAX_TENANT_LABELS",
    "OTHER",
    "LoopHistogram",
    "Metrics",
    "Series",
    "merge_expositions",
]
