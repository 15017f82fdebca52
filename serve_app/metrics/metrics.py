"""The metric objects of one ingress replica, in a registry of its own."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

from serve_app.config.prices import PricesConfig
from serve_app.metrics.agents import AgentMetrics
from serve_app.metrics.bounded_labels import BoundedLabels
from serve_app.metrics.cascade import CascadeMetrics
from serve_app.metrics.experiments import ExperimentMetrics
from serve_app.metrics.loop_histogram import LoopHistogram
from serve_app.metrics.rendering import Renderer
from serve_app.metrics.turns import TurnMetrics
from serve_app.protocol.sse import Usage

# Seconds. Usual targets (0.8 s TTFT, 12 ms a token) fall on bucket edges.
_TTFT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.2, 2, 4.5, 10, 30)
_ITL = (0.002, 0.005, 0.008, 0.012, 0.02, 0.035, 0.05, 0.1, 0.2, 0.5, 1, 5)
_STAGE = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1, 5, 15, 60)
_DURATION = (0.05, 0.1, 0.25, 0.5, 1, 2, 4.5, 7, 10, 25, 60, 300)

MAX_TENANT_LABELS = 50


class Count:
    """One series of a counter that has labels: the library checks that at every increment."""

    __slots__ = ("_add",)

    def __init__(self, series: Counter) -> None:
        self._add = series._value.inc  # noqa: SLF001  # it has no other way around its checks

    def inc(self, amount: float = 1.0) -> None:
        self._add(amount)


def _counted_fast(made: Counter) -> Counter:
    """Return the counter; its series are found without a lock, and counted without checks."""
    find = made.labels
    counted = functools.cache(lambda *values: Count(find(*values)))
    made.labels = counted  # type: ignore[method-assign,assignment]
    return made


class Metrics:
    """Everything the ingress counts. Label sets are bounded.

    `ingress`: the replica's id, the label of every sample; without it samples have none.
    """

    def __init__(self, ingress: str = "") -> None:
        self.registry = registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def labelled(name: str, text: str, *labels: str) -> Counter:
            """For what every request looks up."""
            return _counted_fast(counter(name, text, *labels))

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        def histogram(name: str, text: str, bounds: Sequence[float], *labels: str) -> LoopHistogram:
            return LoopHistogram(name, text, labels, bounds, registry)

        self.requests = labelled(
            "pointsman_requests_total",
            "Requests that ended, by outcome.",
            "lane",
            "reason",
            "tier",
            "code",
        )
        self.ttft = histogram(
            "pointsman_time_to_first_token_seconds",
            "Request received to first streamed byte passed on.",
            _TTFT,
            "lane",
            "tier",
        )
        self.first_tokens = histogram(
            "pointsman_first_tokens_seconds",
            "Request received to its stream's 30th token, of streams that have so many.",
            _TTFT,
            "lane",
            "tier",
        )
        self.slo_events = labelled(
            "pointsman_slo_events_total",
            "Requests that an objective of the fleet file's slo judges, by whether they kept it.",
            "objective",
            "lane",
            "tier",
            "outcome",
        )
        self.itl = histogram(
            "pointsman_inter_token_latency_seconds",
            "Gap between streamed chunks passed on.",
            _ITL,
            "lane",
            "tier",
        )
        self.duration = histogram(
            "pointsman_request_duration_seconds",
            "Request received to last byte passed on.",
            _DURATION,
            "lane",
            "tier",
        )
        self.stage = histogram(
            "pointsman_stage_seconds", "Time spent in each stage of a request.", _STAGE, "stage"
        )
        self.escalation_share = gauge(
            "pointsman_escalation_share",
            "Share of recently scored requests that went to the lane.",
            "lane",
        )
        self.escalation_threshold = gauge(
            "pointsman_escalation_threshold", "Score at which a request goes to the lane.", "lane"
        )
        self.escalation_yield = gauge(
            "pointsman_escalation_yield",
            "Part of the lane's share that stays on the default lane while it is full.",
            "lane",
        )
        self.trigger_firing = gauge(
            "pointsman_trigger_firing", "1 while a trigger fires.", "trigger"
        )
        self.active_sessions = gauge(
            "pointsman_active_sessions", "Sessions that generate or wait.", "lane"
        )
        self.recent_sessions = gauge(
            "pointsman_recent_sessions",
            "Sessions whose last request is within sessions.ttl_s.",
            "lane",
        )
        self.affinity = labelled(
            "pointsman_session_affinity_total",
            "What became of each session's stickiness.",
            "outcome",
        )
        self.tokens = labelled(
            "pointsman_tokens_total", "Tokens, as the engines count.", "tenant", "kind"
        )
        self.cost = labelled(
            "pointsman_cost_total",
            "Cost of tokens at the lanes' prices, in the currency of the fleet file.",
            "tenant",
        )
        self.ceiling_wait = histogram(
            "pointsman_ceiling_wait_seconds",
            "Time that tokens were held back under a ceiling, per request.",
            _DURATION,
            "tier",
        )
        self.shed = counter("pointsman_shed_total", "Requests refused, by code.", "tier", "code")
        self.shed_order_violations = counter(
            "pointsman_shed_order_violations_total",
            "Protected work shed while sheddable work was held.",
        )
        self.shed_order_unverified = counter(
            "pointsman_shed_order_unverified_total",
            "Refusals of protected work that could not be judged: logs were missing.",
        )
        self.queue_depth = gauge(
            "pointsman_queue_depth",
            "Requests that wait here for a slot of their lane.",
            "lane",
            "tier",
        )
        self.recoveries = counter(
            "pointsman_stream_recoveries_total",
            "Faults of replicas under requests: retried, resumed, or failed.",
            "outcome",
        )
        self.breakers_opened = counter(
            "pointsman_breakers_opened_total",
            "Replicas that failed: for a while others are preferred, where there are any.",
            "lane",
        )
        self.history_trimmed = counter(
            "pointsman_history_trimmed_total",
            "Requests whose old turns the engine did not read.",
            "tier",
            "mode",
        )
        self.history_cuts = counter(
            "pointsman_history_cuts_total",
            "Requests that moved the cut: their prefix is read anew.",
            "tier",
        )
        self.history_dropped_tokens = counter(
            "pointsman_history_dropped_tokens_total",
            "Estimated tokens that were left out of requests.",
            "tier",
        )
        self.summaries = counter(
            "pointsman_summaries_total", "Summaries that were wanted.", "tier", "kind", "outcome"
        )
        self.request_records_dropped = counter(
            "pointsman_request_records_dropped_total",
            "Finished requests not noted: feedback, request log, usage log, traces.",
            "sink",
        )
        self.trace_spans_exported = counter(
            "pointsman_trace_spans_exported_total", "Spans that a collector took."
        )
        self.trace_spans_dropped = counter(
            "pointsman_trace_spans_dropped_total",
            "Spans lost: too many waited, or the collector did not take them.",
        )
        self.in_flight = gauge(
            "pointsman_requests_in_flight", "Requests between arrival and settling."
        )
        self.websockets = gauge("pointsman_websockets", "Open sockets.")
        self.websocket_chats = gauge("pointsman_websocket_chats", "Chats of sockets that generate.")
        self.websocket_resumes = counter(
            "pointsman_websocket_resumes_total",
            "Chats taken up again, by where they were: local, relayed, or refused.",
            "outcome",
        )
        self.websocket_chats_abandoned = counter(
            "pointsman_websocket_chats_abandoned_total",
            "Chats aborted because nobody resumed them in time.",
        )
        self.agents = AgentMetrics(registry)
        self.cascade = CascadeMetrics(registry)
        self._tenants = BoundedLabels(MAX_TENANT_LABELS)
        self._renderer = Renderer(registry, {"ingress": ingress} if ingress else {})
        self.turns = TurnMetrics(registry)
        self.experiments = ExperimentMetrics(registry)

    def tenant_label(self, tenant: str) -> str:
        """The tenant's own label for the first 50 seen, `other` after that."""
        return self._tenants.label(tenant)

    def count_usage(self, tenant: str, lane: str, usage: Usage, prices: PricesConfig) -> None:
        """Count the tokens of a tenant, and what they cost."""
        label = self.tenant_label(tenant)
        prompt, cached, completion = (
            usage.prompt_tokens,
            usage.cached_tokens,
            usage.completion_tokens,
        )
        self.tokens.labels(label, "prompt").inc(prompt)
        self.tokens.labels(label, "completion").inc(completion)
        self.tokens.labels(label, "cached").inc(cached)
        if prices.lanes:
            self.cost.labels(label).inc(prices.cost(lane, prompt, cached, completion))

    def render(self) -> str:
        """Return the Prometheus text. May run on a thread, one call at a time."""
        return self._renderer.render()
