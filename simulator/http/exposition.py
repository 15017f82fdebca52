"""`vllm:*` metrics of the simulated engine, by the names and types of vLLM's own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from simulator.model.realtime import Engine

_TTFT = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20)
_ITL = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5)
_E2E = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960)


class Exposition:
    """One engine's metrics. The label `engine` says `simulated`."""

    def __init__(self, engine: Engine, model_id: str, kv_blocks: int, block_size: int) -> None:
        self._engine = engine
        self._registry = r = CollectorRegistry()
        names, self._labels = ("model_name", "engine"), (model_id, "simulated")
        gauges = {
            "num_requests_running": lambda: engine.running,
            "num_requests_waiting": lambda: engine.waiting,
            "kv_cache_usage_perc": engine.utilization,
        }
        for name, read in gauges.items():
            gauge = Gauge(f"vllm:{name}", f"{name} (simulated)", names, registry=r)
            gauge.labels(*self._labels).set_function(read)
        by_reason = Gauge(
            "vllm:num_requests_waiting_by_reason",
            "num_requests_waiting_by_reason (simulated)",
            [*names, "reason"],
            registry=r,
        )
        # Nothing here waits for a grammar, for KV from elsewhere or for an adapter.
        by_reason.labels(*self._labels, "capacity").set_function(lambda: engine.waiting)
        by_reason.labels(*self._labels, "deferred").set(0)
        self._preemptions = self._counter("num_preemptions")
        self._queries = self._counter("prefix_cache_queries")
        self._hits = self._counter("prefix_cache_hits")
        self._prompt = self._counter("prompt_tokens")
        by_source = Counter(
            "vllm:prompt_tokens_by_source",
            "prompt_tokens_by_source (simulated)",
            [*names, "source"],
            registry=r,
        )
        self._computed, self._cached, _ = (
            by_source.labels(*self._labels, source)
            for source in ("local_compute", "local_cache_hit", "external_kv_transfer")
        )
        self._generated = self._counter("generation_tokens")
        self._success = Counter(
            "vllm:request_success",
            "request_success (simulated)",
            [*names, "finished_reason"],
            registry=r,
        )
        self._ttft = self._histogram("time_to_first_token_seconds", _TTFT)
        self._itl = self._histogram("inter_token_latency_seconds", _ITL)
        self._queue = self._histogram("request_queue_time_seconds", _E2E)
        self._tpot = self._histogram("request_time_per_output_token_seconds", _ITL)
        self._e2e = self._histogram("e2e_request_latency_seconds", _E2E)
        info = Gauge(
            "vllm:cache_config_info",
            "cache_config_info (simulated)",
            [*names, "num_gpu_blocks", "block_size"],
            registry=r,
        )
        info.labels(*self._labels, str(kv_blocks), str(block_size)).set(1)
        self._preempted = 0

    def _counter(self, name: str) -> Counter:
        made = Counter(
            f"vllm:{name}", f"{name} (simulated)", ("model_name", "engine"), registry=self._registry
        )
        return made.labels(*self._labels)

    def _histogram(self, name: str, buckets: tuple[float, ...]) -> Histogram:
        made = Histogram(
            f"vllm:{name}",
            f"{name} (simulated)",
            ("model_name", "engine"),
            buckets=buckets,
            registry=self._registry,
        )
        return made.labels(*self._labels)

    def first_token(self, ttft_s: float, queue_s: float, prompt: int, cached: int) -> None:
        self._ttft.observe(ttft_s)
        self._queue.observe(queue_s)
        self._prompt.inc(prompt)
        self._queries.inc(prompt)
        self._hits.inc(cached)
        self._cached.inc(cached)
        self._computed.inc(prompt - cached)

    def token(self, gap_s: float) -> None:
        self._itl.observe(gap_s)

    def ended(self, finish: str, duration_s: float, ttft_s: float, tokens: int) -> None:
        """A request is over; `finish` as vLLM names it (stop, length, abort)."""
        self._generated.inc(tokens)
        self._success.labels(*self._labels, finish).inc()
        if finish != "abort":
            self._e2e.observe(duration_s)
            if tokens > 1:
                self._tpot.observe((duration_s - ttft_s) / (tokens - 1))

    def render(self) -> bytes:
        self._preemptions.inc(self._engine.preemptions - self._preempted)
        self._preempted = self._engine.preemptions
        return generate_latest(self._registry)
