"""What a lane's engine really runs with: weights, KV type, size of the KV pool.

Three sources, the truest first. The engine's own log says how much memory the pool took and
how many tokens it holds: bytes of a token follow from that, whatever was asked for. `/metrics`
says how many tokens, and what type was asked for (`vllm:cache_config_info`), and quantisation
(`pointsman_engine_info`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from serve_app.doctor.live.deployment import Labels, Samples, of_lane

GIB = 2**30

LINE = re.compile(r"ServeReplica:[\w-]+:lane:(?P<lane>[\w-]+) pid=\d+")
STARTS = re.compile(r"Initializing a V1 LLM engine .*?with config: ")
QUANTIZATION = re.compile(r"[ ,]quantization=([\w-]+)")
KV_DTYPE = re.compile(r"[ ,]kv_cache_dtype=([\w-]+)")
KV_MEMORY = re.compile(r"Available KV cache memory: ([\d.]+) GiB")
KV_MEMORY_CPU = re.compile(r"Explicitly set \(([\d.]+)/[\d.]+\) GiB for KV cache")
KV_TOKENS = re.compile(r"GPU KV cache size: ([\d,]+) tokens")


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What is known of a lane's engines; None: no source says it.

    Attributes:
        quantization: of the weights; `none` where they are not quantised.
        kv_dtype: the type that the engine was configured with.
        bytes_per_token: of KV over all cards of one engine, measured.
        pool_tokens: tokens of the smallest KV pool of the lane.
        has_prefix_cache: whether the prefix cache is on.

    """

    quantization: str | None = None
    kv_dtype: str | None = None
    bytes_per_token: float | None = None
    pool_tokens: float | None = None
    has_prefix_cache: bool | None = None


def facts_of(lane: str, samples: Samples, log: Iterable[str], cards: int) -> EngineFacts:
    """Join what `/metrics` and the log say of a lane's engine.

    Args:
        lane: its name.
        samples: of `/metrics`.
        log: lines of `serve.log`; the last start of the lane counts.
        cards: of one engine: the log has the memory of one of them.

    """
    told = [labels for labels, _ in of_lane(samples, "vllm:cache_config_info", lane)]
    info = [labels for labels, _ in of_lane(samples, "pointsman_engine_info", lane)]
    logged = _logged(lane, log)
    sizes = [float(x) for labels in told if (x := labels.get("kv_cache_size_tokens", "")).isdigit()]
    memory, tokens = logged.get("memory"), logged.get("tokens")
    measured = float(memory) * GIB * cards / float(tokens) if memory and tokens else None
    return EngineFacts(
        quantization=_first(info, "quantization") or logged.get("quantization"),
        kv_dtype=_first(told, "cache_dtype") or logged.get("kv_dtype"),
        bytes_per_token=measured,
        pool_tokens=min(sizes) if sizes else (float(tokens) if tokens else None),
        has_prefix_cache=_flag(_first(told, "enable_prefix_caching")),
    )


def _logged(lane: str, log: Iterable[str]) -> dict[str, str]:
    """What the last start of the lane's engine printed."""
    found: dict[str, str] = {}
    for line in log:
        place = LINE.search(line)
        if place is None or place["lane"] != lane:
            continue
        if STARTS.search(line):
            found = {}
        patterns = {
            "quantization": QUANTIZATION,
            "kv_dtype": KV_DTYPE,
            "tokens": KV_TOKENS,
            "memory": KV_MEMORY if "Available KV" in line else KV_MEMORY_CPU,
        }
        for name, pattern in patterns.items():
            if match := pattern.search(line):
                found[name] = match[1].replace(",", "").replace("None", "none")
    return found


def _first(rows: Iterable[Labels], label: str) -> str | None:
    return next((row[label] for row in rows if row.get(label)), None)


def _flag(text: str | None) -> bool | None:
    return None if text is None else text == "True"
