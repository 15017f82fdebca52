"""A Prometheus text of the size that vLLM's server has: its names, labels and buckets.

Read off vLLM 0.29.0 (`vllm/v1/metrics/loggers.py`) and what its server adds: figures of the
process, of Python and of each HTTP route.
"""

from __future__ import annotations

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
)

LABELS = ("model_name", "engine")
_VALUES = ("neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8", "0")
_GAUGES = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")
_COUNTERS = (
    "prefix_cache_queries", "prefix_cache_hits", "external_prefix_cache_queries",
    "external_prefix_cache_hits", "mm_cache_queries", "mm_cache_hits", "num_preemptions",
    "prompt_tokens", "prompt_tokens_cached", "generation_tokens",
)  # fmt: skip
_LONG = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300,
    600, 1200, 1800,
)  # fmt: skip
_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)
_TTFT = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20,
    40, 80, 160, 640, 2560,
)  # fmt: skip
_E2E = (
    0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
)  # fmt: skip
_HISTOGRAMS = {
    "request_prompt_tokens": _TOKENS,
    "request_generation_tokens": _TOKENS,
    "iteration_tokens_total": _TOKENS,
    "request_max_num_generation_tokens": _TOKENS,
    "request_params_n": _TOKENS[:5],
    "request_params_max_tokens": _TOKENS,
    "request_prefill_kv_computed_tokens": _TOKENS,
    "time_to_first_token_seconds": _TTFT,
    "inter_token_latency_seconds": _TTFT,
    "request_time_per_output_token_seconds": _TTFT,
    "e2e_request_latency_seconds": _E2E,
    "request_queue_time_seconds": _E2E,
    "request_inference_time_seconds": _E2E,
    "request_prefill_time_seconds": _E2E,
    "request_decode_time_seconds": _E2E,
    "kv_block_lifetime_seconds": _LONG,
    "kv_block_idle_before_evict_seconds": _LONG,
    "kv_block_reuse_gap_seconds": _LONG,
}
_LABELLED = {
    "num_requests_waiting_by_reason": ("reason", ("capacity", "deferred")),
    "engine_sleep_state": ("sleep_state", ("awake", "weights_offloaded", "discard_all")),
}
_ROUTES = ("/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses", "/metrics")
_HTTP = (0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 7.5, 10,
         30, 60)  # fmt: skip


def vllm_registry() -> CollectorRegistry:
    """Return a registry with all that an engine with traffic shows."""
    registry = CollectorRegistry()
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        registry.register(collector)
    for name in _GAUGES:
        Gauge(f"vllm:{name}", name, LABELS, registry=registry).labels(*_VALUES).set(3)
    for name in _COUNTERS:
        Counter(f"vllm:{name}", name, LABELS, registry=registry).labels(*_VALUES).inc(123_456)
    for name, (label, values) in _LABELLED.items():
        gauge = Gauge(f"vllm:{name}", name, (*LABELS, label), registry=registry)
        for value in values:
            gauge.labels(*_VALUES, value).set(1)
    for name, label, values in (
        ("prompt_tokens_by_source", "source", ("local_compute", "local_cache_hit")),
        ("request_success", "finished_reason", ("stop", "length", "abort", "error")),
    ):
        counter = Counter(f"vllm:{name}", name, (*LABELS, label), registry=registry)
        for value in values:
            counter.labels(*_VALUES, value).inc(10)
    for name, buckets in _HISTOGRAMS.items():
        made = Histogram(f"vllm:{name}", name, LABELS, buckets=buckets, registry=registry)
        made.labels(*_VALUES).observe(0.5)
    _add_http(registry)
    return registry


def _add_http(registry: CollectorRegistry) -> None:
    names = ("handler", "method")
    requests = Counter("http_requests", "Requests.", ("status", *names), registry=registry)
    seconds = Histogram("http_request_duration_seconds", "Time.", names, registry=registry)
    exact = Histogram(
        "http_request_duration_highr_seconds", "Time.", buckets=_HTTP, registry=registry
    )
    for route in _ROUTES:
        requests.labels("2xx", route, "POST").inc()
        requests.labels("4xx", route, "POST").inc()
        seconds.labels(route, "POST").observe(0.3)
    exact.observe(0.3)
