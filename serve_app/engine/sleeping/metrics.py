"""What a lane of a pool tells of its sleep, as Prometheus text."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from serve_app.metrics.rendering import Renderer

_SECONDS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 40, 80, 160, 320, 640)


class SleepMetrics:
    """Counted in the lane's replica: one ingress replica more would count them twice."""

    def __init__(self, pool: str) -> None:
        registry = CollectorRegistry()
        self._renderer = Renderer(registry, {})
        self.awake = Gauge(
            "pointsman_lane_awake", "1 while a lane of a pool serves.", registry=registry
        )
        self.swaps = Counter(
            "pointsman_swaps_total",
            "Lanes of a pool that were woken.",
            ["pool"],
            registry=registry,
        ).labels(pool)
        self.wake_seconds = Histogram(
            "pointsman_lane_wake_seconds",
            "From the order to wake a lane until it serves.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.failures = Counter(
            "pointsman_lane_wake_failures_total",
            "Lanes of a pool that did not wake.",
            registry=registry,
        )

    def text(self) -> str:
        return self._renderer.render()
