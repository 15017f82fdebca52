"""How long `/metrics` of a whole deployment takes: eight lane replicas, two ingress replicas, Ray.

    make bench-scrape      # 2 minutes; wants a quiet machine

The parts of it, and what 10,000 tenants make of them, are in `bench-observability`.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

import aiohttp

from benchmarks.support import report
from benchmarks.support.deployment import admin_headers, deployed_with

REQUESTS, SCRAPES = 400, 40

LANE = {
    "model_source": "simulated",
    "engine": "simulated",
    "accelerator": "cpu",
    "num_cpus": 0.1,
    "replicas": 4,
    "max_model_len": 4096,
    "simulated": {"ttft_s": 0.0, "itl_s": 0.0},
}
FLEET = {
    "name": "scrape",
    "lanes": {x: {**LANE, "model_id": f"simulated-{x}"} for x in ("chat", "quality")},
    "routing": {"default": "chat", "complex": "quality"},
    "ingress": {"replicas": 2, "num_cpus": 0.1},
}
TENANTS = {
    "local_tenant": "local",
    "tiers": {"paid": {"priority": 0}},
    "tenants": {"local": {"tier": "paid"}},
}


async def measure(url: str) -> dict[str, Any]:
    """Ask both lanes, then scrape, one scrape a second as no Prometheus would."""
    async with aiohttp.ClientSession(url) as http:
        for number in range(REQUESTS):
            body = {
                "model": ("chat", "quality")[number % 2],
                "max_tokens": 4,
                "messages": [{"role": "user", "content": f"Hello, {number}"}],
            }
            async with http.post("/v1/chat/completions", json=body) as response:
                response.raise_for_status()
                await response.read()
        took, size = [], 0
        for _ in range(SCRAPES):
            begun = time.perf_counter()
            async with http.get("/metrics", headers=admin_headers()) as response:
                response.raise_for_status()
                text = await response.text()
            took.append(1000 * (time.perf_counter() - begun))
            size = len(text)
            replicas = {x for x in text.splitlines() if x.startswith("vllm:num_requests_running{")}
            await asyncio.sleep(1.0)
    return {
        "lane_replicas": len(replicas),
        "scrapes": SCRAPES,
        "p50_ms": statistics.median(took),
        "p95_ms": statistics.quantiles(took, n=20)[-1],
        "max_ms": max(took),
        "kib": size / 1024,
    }


def main() -> None:
    with deployed_with(FLEET, TENANTS) as url:
        row = asyncio.run(measure(url))
    notes = (
        "Simulated engines, so that vLLM's own rendering is not in it; through HAProxy, on the "
        "machine that everything runs on. One scrape a second."
    )
    report.write("scrape", [row], title="A scrape of a deployment", notes=notes)


if __name__ == "__main__":
    main()
