"""The metrics of requests that are held while their lane begins, and may move to a stronger one."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from serve_app.metrics.loop_histogram import LoopHistogram

# Seconds. A held token is some 10 to 50 ms; a whole answer may take seconds.
_HOLD = (0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)


class CascadeMetrics:
    """Counted once a held request, when it is decided. `lane`: where it began."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.holds = Counter(
            "pointsman_cascade_holds_total",
            "Requests that were held while their lane began to answer, by what became of them.",
            ("lane", "outcome"),
            registry=registry,
        )
        self.hold_s = LoopHistogram(
            "pointsman_cascade_hold_seconds",
            "From the first token to the decision; of a whole answer, from the asking.",
            ("lane",),
            _HOLD,
            registry,
        )
        self.draft_tokens = Counter(
            "pointsman_cascade_draft_tokens_total",
            "Tokens of answers that were begun and given up for a stronger lane's. Nobody is "
            "charged for them.",
            ("lane", "kind"),
            registry=registry,
        )
