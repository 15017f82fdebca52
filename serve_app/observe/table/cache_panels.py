"""What of the prompts is found in the prefix cache."""

from __future__ import annotations

from serve_app.observe import limits
from serve_app.observe.table.promql import INTERVAL, per_second, quantile
from serve_app.observe.table.rows import Dashboard, Needs, Panel, Query

_LANE = 'lane=~"$lane"'


PREFIXES = (
    Panel(
        "Prompt tokens found in the cache",
        "Share by lane. Falling: tenants take turns and evict each other, or a system prompt "
        "changes with every request.",
        (Query(f"lane:prefix_cache_hits:ratio_5m{{{_LANE}}}", "{{lane}}"),),
        "percentunit",
        alerts=("FirstTokenSlow",),
    ),
    Panel(
        "Prompt tokens by where their KV came from",
        "device: on the card; host: brought back from host memory; recomputed: read (again).",
        (
            Query(
                per_second("pointsman_prompt_tokens_total", "lane, level", _LANE),
                "{{lane}} {{level}}",
            ),
        ),
    ),
    Panel(
        "KV cache in use",
        "Of each engine's pool.",
        (
            Query(
                f"max by (lane, replica) (vllm:kv_cache_usage_perc{{{_LANE}}})",
                "{{lane}} {{replica}}",
            ),
        ),
        "percentunit",
        marks=(0.8, limits.KV_RATIO),
        alerts=("KvCacheFull", "KvCacheNotFp8"),
    ),
    Panel(
        "Lifetime of blocks",
        "Median from allocation to eviction, and idle before it. Idle for seconds only: the "
        "cache is too small for its tenants.",
        tuple(
            Query(
                quantile(0.5, f"vllm:kv_block_{metric}_seconds", "lane", INTERVAL, _LANE),
                f"{word} {{{{lane}}}}",
            )
            for metric, word in (
                ("lifetime", "life"),
                ("idle_before_evict", "idle"),
                ("reuse_gap", "until used again"),
            )
        ),
        "s",
        needs=Needs.VLLM,
        alerts=("KvCacheFull",),
    ),
    Panel(
        "Second level in host memory",
        "Share of what the card did not have that host memory had.",
        (
            Query(
                per_second("vllm:external_prefix_cache_hits_total", "lane", _LANE)
                + " / "
                + per_second("vllm:external_prefix_cache_queries_total", "lane", _LANE),
                "{{lane}}",
            ),
        ),
        "percentunit",
        needs=Needs.VLLM,
    ),
    Panel(
        "History left out",
        "Requests whose old turns the engine did not read, and those that moved the cut, whose "
        "prefix is read anew.",
        (
            Query(per_second("pointsman_history_trimmed_total", "tier, mode"), "{{tier}} {{mode}}"),
            Query(per_second("pointsman_history_cuts_total", "tier"), "cut moved {{tier}}"),
        ),
        "reqps",
        needs=Needs.EVENT,
    ),
)

CACHE = Dashboard(
    "cache",
    "Pointsman: cache",
    "What of the prompts is found in the prefix cache, and what is evicted.",
    {"Prefix cache": PREFIXES},
    ("lane",),
)
