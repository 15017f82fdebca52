"""Metrics of leases, in one ingress replica's registry."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5)


class LedgerMetrics:
    """Counted by `LeaseSync`; the gauges are set when they are read."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._beats = Counter(
            "pointsman_ledger_heartbeats_total",
            "Reports to the ledger, answered or not.",
            ["outcome"],
            registry=registry,
        )
        self._seconds = Histogram(
            "pointsman_ledger_heartbeat_seconds",
            "Report sent to answer applied.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self.epoch = Gauge("pointsman_ledger_epoch", "Of the last answer.", registry=registry)
        self.has_session = Gauge(
            "pointsman_ledger_session",
            "1 while leases hold; 0: only safe capacities do, and sheddable work yields.",
            registry=registry,
        )
        self.answer_age = Gauge(
            "pointsman_ledger_answer_age_seconds", "Since the last answer.", registry=registry
        )
        self.unconfirmed = Gauge(
            "pointsman_ledger_unconfirmed_refusals",
            "Protected requests refused though it was not known what the others hold.",
            ["lane"],
            registry=registry,
        )

    def beat(self, *, counts: bool, seconds: float) -> None:
        """One heartbeat is over."""
        self._beats.labels("answered" if counts else "unanswered").inc()
        if counts:
            self._seconds.observe(seconds)
