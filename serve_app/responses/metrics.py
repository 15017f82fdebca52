"""The metrics of stored responses."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class ResponseMetrics:
    """One ingress replica's. The gauges are of the file, the same on every replica."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.stored = Counter(
            "pointsman_responses_stored_total",
            "Answers on /v1/responses that were to be stored, by what became of that.",
            ["outcome"],
            registry=registry,
        )
        self.deleted = Counter(
            "pointsman_responses_deleted_total",
            "Stored responses that were deleted: expired, evicted, asked.",
            ["cause"],
            registry=registry,
        )
        self.responses = Gauge(
            "pointsman_stored_responses", "Responses in the store.", registry=registry
        )
        self.bytes = Gauge(
            "pointsman_stored_response_bytes",
            "Bytes of the stored responses and their inputs.",
            registry=registry,
        )
