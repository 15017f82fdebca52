"""Reading an engine's load, and where its prompt tokens came from, from its metrics."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

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

REASONS = {"capacity": "waiting_capacity", "deferred": "waiting_deferred"}
"""vLLM's reasons to wait: no room in the batch or the cache; a grammar that is not compiled
yet, KV that is on its way, an adapter without room."""

_TOKENS = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total")

_MEANS = {
    "kv_block_lifetime_s": "vllm:kv_block_lifetime_seconds",
    "kv_block_idle_before_evict_s": "vllm:kv_block_idle_before_evict_seconds",
    "kv_block_reuse_gap_s": "vllm:kv_block_reuse_gap_seconds",
}
"""Of a sample of the cache's blocks, where the engine runs with `kv_cache_metrics`."""

READ = sorted(
    {
        *_GAUGES.values(),
        *_TOKENS,
        *(f"{x}_{end}" for x in _MEANS.values() for end in ("sum", "count")),
    }
)
"""Samples that are read by name; with those by reason and by source, all that is relied on."""

# They begin with the end of the line before: a search for fixed text, where `^` would have
# the whole text tried, character by character (1.4 ms of an event loop, once a scrape).
_SAMPLE = re.compile(rf"\nvllm:({'|'.join(x[5:] for x in READ)})(?:\{{[^}}]*\}})? ([0-9.eE+-]+)")
_SOURCE = re.compile(
    r'\nvllm:prompt_tokens_by_source_total\{[^}]*source="([a-z_]+)"[^}]*\} ([0-9.eE+-]+)'
)
_REASON = re.compile(
    r'\nvllm:num_requests_waiting_by_reason\{[^}]*reason="([a-z_]+)"[^}]*\} ([0-9.eE+-]+)'
)
_KV_DTYPE = re.compile(r'\nvllm:cache_config_info\{[^\n]*?cache_dtype="([^"\n]*)"')


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What is read of an engine's text.

    Attributes:
        row: figures for `/status`, see `engine_load`, and by level the prompt's tokens.
        tokens: read and generated since the engine started.
        prompt_tokens: see `prompt_tokens_by_level`.

    """

    row: dict[str, Any]
    tokens: float
    prompt_tokens: dict[str, float]


def read_stats(text: str) -> EngineStats:
    """Read an engine's Prometheus text once for all who ask."""
    sums, levels = _sums(text), prompt_tokens_by_level(text)
    row: dict[str, Any] = {
        **{ours: sums.get(theirs, 0.0) for ours, theirs in _GAUGES.items()},
        **_waiting_by_reason(text),
        **{ours: _mean(sums, theirs) for ours, theirs in _MEANS.items()},
        "kv_cache_dtype": _kv_cache_dtype(text),
        "prompt_tokens": levels,
    }
    return EngineStats(row, sum(sums.get(name, 0.0) for name in _TOKENS), levels)


def _sums(text: str) -> dict[str, float]:
    """Samples by name, summed over the engine's cores."""
    sums: dict[str, float] = {}
    for short, value in _SAMPLE.findall(f"\n{text}"):
        name = f"vllm:{short}"
        sums[name] = sums.get(name, 0.0) + float(value)
    return sums


def _kv_cache_dtype(text: str) -> str | None:
    """The type that the engine's cache was configured with; None: it does not tell."""
    found = _KV_DTYPE.search(f"\n{text}")
    return None if found is None else found[1]


def _mean(sums: dict[str, float], name: str) -> float | None:
    """Mean of a histogram since the engine started; None: nothing was observed."""
    count = sums.get(f"{name}_count", 0.0)
    return round(sums[f"{name}_sum"] / count, 3) if count else None


def _waiting_by_reason(text: str) -> dict[str, float]:
    found = dict.fromkeys(REASONS.values(), 0.0)
    for reason, value in _REASON.findall(f"\n{text}"):
        if reason in REASONS:
            found[REASONS[reason]] += float(value)
    return found


def engine_load(text: str) -> dict[str, float]:
    """Load figures of one replica, summed over its engine cores; 0 when absent.

    `kv_utilization` runs from 0 to 1 despite the name it has in vLLM.
    """
    sums = _sums(text)
    return {ours: sums.get(theirs, 0.0) for ours, theirs in _GAUGES.items()}


def prompt_tokens_by_level(text: str) -> dict[str, float]:
    """Prompt tokens of one replica by where their KV came from, since it started.

    `device`: found in the card's prefix cache; `host`: brought back from host memory;
    `recomputed`: read (again). Their sum is all prompt tokens.
    """
    levels = dict.fromkeys(LEVELS.values(), 0.0)
    for source, value in _SOURCE.findall(f"\n{text}"):
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
