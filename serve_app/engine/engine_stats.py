"""Reading an engine's load, and where its prompt tokens came from, from its metrics."""

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
LEVELS = {
    "local_cache_hit": "device",
    "external_kv_transfer": "host",
    "local_compute": "recomputed",
}
"""vLLM's sources of prompt tokens: its own KV cache, the connector's (host memory; no
other connector is configured here), prefill."""

_SAMPLE = re.compile(r"^(vllm:[a-z_]+)(?:\{[^}]*\})? ([0-9.eE+-]+)$", re.MULTILINE)

_SOURCE = re.compile(
    r'^vllm:prompt_tokens_by_source_total\{[^}]*source="([a-z_]+)"[^}]*\} ([0-9.eE+-]+)$',
    re.MULTILINE,
)


def engine_load(text: str) -> dict[str, float]:
    """Load figures of one replica, summed over its engine cores; 0 when absent.

    `kv_utilization` runs from 0 to 1 despite the name it has in vLLM.
    """
    sums: dict[str, float] = {}
    for name, value in _SAMPLE.findall(text):
        sums[name] = sums.get(name, 0.0) + float(value)
    return {ours: sums.get(theirs, 0.0) for ours, theirs in _GAUGES.items()}


def prompt_tokens_by_level(text: str) -> dict[str, float]:
    """Prompt tokens of one replica by where their KV came from, since it started.

    `device`: found in the card's prefix cache; `host`: brought back from host memory;
    `recomputed`: read (again). Their sum is all prompt tokens.
    """
    levels = dict.fromkeys(LEVELS.values(), 0.0)
    for source, value in _SOURCE.findall(text):
        if source in LEVELS:
            levels[LEVELS[source]] += float(value)
    return levels


def levels_text(levels: dict[str, float]) -> str:
    name = "pointsman_prompt_tokens_total"
    lines = [
        f"# HELP {name} Prompt tokens by where their KV came from.",
        f"# TYPE {name} counter",
        *(f'{name}{{level="{level}"}} {value}' for level, value in levels.items()),
    ]
    return "\n".join(lines) + "\n"
