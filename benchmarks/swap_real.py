"""Two lanes of the embedded model on one place: one engine at a time, its memory really freed.

    make bench-swap_real

Each lane is asked in turn, so that the other's engine has to go. Memory is the proportional
set size (PSS) of the engines' processes and of the two replicas, which stay.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.startup import pids, pss_mib
from benchmarks.support import report
from benchmarks.support.deployment import admin_headers, cpu_s, deployed
from serve_app.engine.embedded_model import prepare

FLEET = Path(__file__).with_name("support") / "swap_real_fleet.yaml"
ROUNDS = ("chat", "coder", "chat", "coder")
ENGINES = ("VLLM::",)
REPLICAS = ("ray::ServeReplica:pointsman:lane",)
IDLE_S = 20.0


async def ask(http: aiohttp.ClientSession, lane: str) -> tuple[int, str, float, float]:
    """Return status, reason, and the seconds to the first token and to the end of a stream."""
    body = {
        "model": lane,
        "messages": [{"role": "user", "content": "Name three colours."}],
        "max_tokens": 16,
        "stream": True,
    }
    begun = time.monotonic()
    async with http.post("/v1/chat/completions", json=body) as response:
        first = 0.0
        async for line in response.content:
            if line.startswith(b"data: ") and not first:
                first = time.monotonic() - begun
        reason = response.headers.get("x-pointsman-reason", "")
        return response.status, reason, first, time.monotonic() - begun


async def phases(http: aiohttp.ClientSession) -> dict[str, str]:
    async with http.get("/status", headers=admin_headers()) as response:
        lanes = (await response.json())["lanes"]
    return {name: row["replicas"][0]["phase"] for name, row in lanes.items() if row["replicas"]}


async def rounds(url: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(url, timeout=timeout) as http:
        for lane in ROUNDS:
            status, reason, first_s, whole_s = await ask(http, lane)
            again = await ask(http, lane)
            rows.append(
                {
                    "asked": lane,
                    "status": status,
                    "reason": reason,
                    "first_token_s": first_s,
                    "whole_s": whole_s,
                    "again_first_token_s": again[2],
                    **{f"{name}_is": phase for name, phase in (await phases(http)).items()},
                    "engines": len(pids(ENGINES)),
                    "engines_pss_mib": pss_mib(ENGINES),
                    "replicas_pss_mib": pss_mib(REPLICAS),
                }
            )
            print(rows[-1], flush=True)
    return rows


def idle_percent() -> dict[str, float]:
    """CPU of every lane replica and engine while nobody asks, in percent of one core."""
    found = pids((*ENGINES, *REPLICAS))
    before = {pid: cpu_s([pid]) for pid in found}
    time.sleep(IDLE_S)
    return {str(pid): (cpu_s([pid]) - before[pid]) / IDLE_S * 100 for pid in found}


def main() -> None:
    prepare()
    with deployed(fleet=str(FLEET)) as url:
        rows = asyncio.run(rounds(url))
        idle = idle_percent()
    rows.append({"asked": "nobody", "idle_cpu_percent": max(idle.values())})
    notes = (
        "Two lanes of SmolLM2-135M on the CPU in a pool for one: each is asked twice in turn. vLLM "
        "has no sleep mode on the CPU, so the other lane's engine ends, and is started anew. "
        "`idle_cpu_percent`: the busiest of both replicas and the engine, percent of one core. "
        "Command: `make bench-swap_real`."
    )
    report.write("swap_real", rows, title="One engine at a time on the CPU", notes=notes)
    plot(rows[:-1])


def plot(rows: list[dict[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 2.8))
    names = [f"{number}. {row['asked']}" for number, row in enumerate(rows, 1)]
    axes[0].bar(names, [row["engines_pss_mib"] for row in rows])
    axes[0].set_ylabel("engines, MiB (PSS)")
    axes[1].bar(names, [row["first_token_s"] for row in rows])
    axes[1].set_ylabel("first token after a swap, s")
    figure.tight_layout()
    figure.savefig(report.RESULTS / "swap_real.png", dpi=120)


if __name__ == "__main__":
    main()
