"""The samples of a Prometheus text that the triggers read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from serve_app.metrics.expositions import labels_of, samples_of

WANTED = frozenset(
    {
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:kv_cache_usage_perc",
        "vllm:num_preemptions_total",
        "vllm:time_to_first_token_seconds_bucket",
        "vllm:time_to_first_token_seconds_count",
        "vllm:inter_token_latency_seconds_sum",
        "vllm:inter_token_latency_seconds_count",
        "pointsman_prompt_tokens_total",
        "pointsman_inter_token_latency_seconds_bucket",
        "pointsman_inter_token_latency_seconds_count",
        "pointsman_turn_seconds_bucket",
        "pointsman_turn_seconds_count",
        "pointsman_request_prompt_tokens_bucket",
        "pointsman_request_prompt_tokens_count",
        "pointsman_tool_repairs_total",
        "pointsman_tool_calls_total",
        "pointsman_requests_total",
        "pointsman_active_sessions",
        "pointsman_queue_depth",
        "pointsman_tokens_total",
        "pointsman_escalation_share",
        "pointsman_card_temperature_celsius",
        "pointsman_card_power_watts",
        "pointsman_card_memory_used_bytes",
        "pointsman_card_memory_total_bytes",
        "pointsman_card_throttled",
    }
)

Labels = Mapping[str, str]


class Sample(NamedTuple):
    """One value; `key` is its text up to the value, the same from scrape to scrape."""

    key: str
    labels: Labels
    value: float


class Scrape:
    """A text's samples by metric name."""

    def __init__(self, text: str) -> None:
        self._by_name: dict[str, list[Sample]] = {}
        for name, written, value in samples_of(text, WANTED):
            found = Sample(f"{name}{{{written}}}", labels_of(written), value)
            self._by_name.setdefault(name, []).append(found)

    def samples(self, name: str) -> list[Sample]:
        return self._by_name.get(name, [])

    @property
    def all(self) -> Iterable[Sample]:
        return (sample for samples in self._by_name.values() for sample in samples)

    def values(self, name: str, **labels: str) -> list[float]:
        """Return the values of the samples that have these labels."""
        wanted = labels.items()
        return [x.value for x in self.samples(name) if wanted <= x.labels.items()]


class Counted:
    """How much counters grew between two scrapes.

    A counter that is smaller than it was began anew: it grew by what it says now. One that was
    not in the last scrape (its replica did not answer) goes on from the one before that.
    """

    MAX_KNOWN = 50_000

    def __init__(self) -> None:
        self._known: dict[str, float] = {}
        self._has_begun = False
        self._grown: dict[str, float] = {}
        self._scrape = Scrape("")

    @property
    def has_begun(self) -> bool:
        """Whether there was a scrape before the last one, so that growth means something."""
        return self._has_begun

    def take(self, scrape: Scrape) -> None:
        """Take in the next scrape."""
        self._has_begun = bool(self._known)
        self._scrape = scrape
        grown: dict[str, float] = {}
        for sample in scrape.all:
            before = self._known.get(sample.key, 0.0)
            grown[sample.key] = sample.value - before if sample.value >= before else sample.value
            self._known[sample.key] = sample.value
        self._grown = grown
        if len(self._known) > self.MAX_KNOWN:
            # Replicas come and go under new names.
            self._known = {sample.key: sample.value for sample in scrape.all}

    def growth(self, name: str, **labels: str) -> float:
        """Sum over the samples that have these labels."""
        wanted = labels.items()
        return sum(
            self._grown[x.key] for x in self._scrape.samples(name) if wanted <= x.labels.items()
        )

    def growth_by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """Return the same for each value of a label."""
        wanted, sums = labels.items(), dict[str, float]()
        for sample in self._scrape.samples(name):
            if wanted <= sample.labels.items():
                value = sample.labels.get(label, "")
                sums[value] = sums.get(value, 0.0) + self._grown[sample.key]
        return sums

    def over(self, histogram: str, edge: float, **labels: str) -> tuple[float, float]:
        """Return the events of a histogram that were over a bucket's edge, and all events.

        Nothing (0, 0) where the histogram has no such edge.
        """
        count = self.growth(f"{histogram}_count", **labels)
        edges = self.growth_by(f"{histogram}_bucket", "le", **labels)
        within = [grown for le, grown in edges.items() if le and float(le) == edge]
        if not within:
            return 0.0, 0.0
        return max(0.0, count - sum(within)), count
