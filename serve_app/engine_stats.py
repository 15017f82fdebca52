"""Reading an engine's load from its Prometheus text."""

from __future__ import annotations

import re

_GAUGES = {
    "running": "vllm:num_requests_running",
    "waiting": "vllm:num_requests_waiting",
    "kv_utilization": "vllm:kv_cache_usage_perc",
    "prefix_cache_queries": "vllm:prefix_cache_queries_total",
    "prefix_cache_hits": "vllm:prefix_cache_hits_total",
    "preemptions": "vllm:num_preemptions_total",
}
_SAMPLE = re.compile(r"^(vllm:[a-z_]+)(?:\{[^}]*\})? ([0-9.eE+-]+)$", re.MULTILINE)


def engine_load(text: str) -> dict[str, float]:
    """Load figures of one replica, summed over its engine cores; 0 when absent.

    `kv_utilization` runs from 0 to 1 despite the name it has in vLLM.
    """
    sums: dict[str, float] = {}
    for name, value in _SAMPLE.findall(text):
        sums[name] = sums.get(name, 0.0) + float(value)
    return {ours: sums.get(theirs, 0.0) for ours, theirs in _GAUGES.items()}
