"""What Pointsman costs: the same simulated engine, reached directly and through it.

Ways in, in turn, three rounds: the engine replica's own endpoint; Pointsman with
every feature on (HAProxy, authentication, ceilings, session, classification,
pacing code, metrics). CPU is read from /proc over each run: `ingress` is the
ingress replica's process, `haproxy` the proxy before it.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from typing import Any

import aiohttp

from benchmarks import report
from benchmarks.deployment import ROOT, cpu_s, deployed, pids_of, rss_mib

ROUNDS = 3
TOKENS = 100
PROMPT = "Please summarize our refund policy for an enterprise customer. " * 8


async def one(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> dict[str, float]:
    """One streamed request: TTFT, tokens, and whether it failed."""
    begun, first, tokens, tail = time.perf_counter(), 0.0, 0, b""
    try:
        async with session.post(f"{url}/v1/chat/completions", json=body) as response:
            async for chunk in response.content.iter_any():
                first = first or time.perf_counter() - begun
                tokens += chunk.count(b'"content":"simulated ')
                tail = chunk
            failed = response.status != 200 or not tail.endswith(b"[DONE]\n\n")
    except aiohttp.ClientError:
        failed = True
    return {"ttft_s": first, "tokens": tokens, "failed": float(failed)}


async def load(
    url: str, headers: dict[str, str], model: str, streams: int, total: int, tokens: int
) -> list[dict[str, float]]:
    """`total` requests over `streams` keep-alive connections."""
    results: list[dict[str, float]] = []
    numbers = iter(range(total))

    async def client() -> None:
        async with aiohttp.ClientSession(headers=headers) as session:
            for number in numbers:
                messages = [{"role": "user", "content": f"{number}: {PROMPT}"}]
                body = {"model": model, "messages": messages, "stream": True, "max_tokens": tokens}
                results.append(await one(session, url, body))

    await asyncio.gather(*(client() for _ in range(streams)))
    return results


def quantile(values: list[float], q: float) -> float:
    """The q-quantile by nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def measure(
    way: str, url: str, headers: dict[str, str], model: str, streams: int
) -> dict[str, Any]:
    """One run of one way in."""
    total, tokens = (200, 2) if streams == 1 else (streams * 4, TOKENS)
    watched = {
        "ingress": pids_of("ray::ServeReplica:pointsman:ingress"),
        "haproxy": pids_of("bin/haproxy -db"),
    }
    asyncio.run(load(url, headers, model, streams, streams * 2, 4))
    before = {name: cpu_s(pids) for name, pids in watched.items()}
    begun = time.perf_counter()
    results = asyncio.run(load(url, headers, model, streams, total, tokens))
    elapsed = time.perf_counter() - begun
    used = {name: cpu_s(pids) - before[name] for name, pids in watched.items()}
    moved = sum(r["tokens"] for r in results) or 1
    ttft = [1000 * r["ttft_s"] for r in results]
    row: dict[str, Any] = {
        "way": way,
        "streams": streams,
        "requests": total,
        "errors": int(sum(r["failed"] for r in results)),
        "tokens_per_s": moved / elapsed,
        "ttft_p50_ms": quantile(ttft, 0.5),
        "ttft_p99_ms": quantile(ttft, 0.99),
    }
    if way == "pointsman":
        row["ingress_cpu_us_per_token"] = 1e6 * used["ingress"] / moved
        row["haproxy_cpu_us_per_token"] = 1e6 * used["haproxy"] / moved
        row["ingress_cpu_ms_per_request"] = 1e3 * used["ingress"] / total
        row["ingress_rss_mib"] = rss_mib(watched["ingress"])
    return row


def endpoint_of(lane: str) -> str:
    """The address that a lane's replica publishes, asked of Serve."""
    import ray
    from ray import serve

    ray.init(address="auto", namespace="serve", log_to_driver=False, logging_level="error")

    async def choose() -> str:
        handle = serve.get_deployment_handle(f"lane:{lane}", "pointsman")
        async with handle.choose_replica(session_key="bench", _reserve=False) as selection:
            return str(selection.replica_metadata["url"])

    url = asyncio.run(choose())
    ray.shutdown()
    return url


def main() -> None:
    from serve_app.endpoint import SECRET_HEADER
    from serve_app.settings import deployment_secret

    args = {
        "fleet": str(ROOT / "benchmarks/overhead_fleet.yaml"),
        "tenants": str(ROOT / "benchmarks/overhead_tenants.yaml"),
    }
    runs: list[dict[str, Any]] = []
    with deployed(**args) as url:
        direct = endpoint_of("chat")
        secret = {SECRET_HEADER.decode(): deployment_secret()}
        for number in range(ROUNDS):
            ways = [("direct", direct, secret, "simulated-chat"), ("pointsman", url, {}, "auto")]
            for way in ways if number % 2 == 0 else reversed(ways):
                for streams in (1, 64):
                    runs.append({"round": number, **measure(*way, streams)})
                    print(runs[-1], flush=True)
    rows = [_median(runs, way, streams) for streams in (1, 64) for way in ("direct", "pointsman")]
    for direct_row, row in zip(rows[::2], rows[1::2], strict=True):
        row["added_ttft_p50_ms"] = row["ttft_p50_ms"] - direct_row["ttft_p50_ms"]
        row["added_ttft_p99_ms"] = row["ttft_p99_ms"] - direct_row["ttft_p99_ms"]
    notes = (
        f"Simulated engine (20 ms TTFT, 50 ms between tokens); median of {ROUNDS} rounds; "
        f"engine, ingress, HAProxy and load generator share {os.cpu_count()} cores. "
        "Command: `make bench-overhead`."
    )
    report.write("overhead", rows, title="Overhead of the ingress", notes=notes)
    _plot(rows)


def _median(runs: list[dict[str, Any]], way: str, streams: int) -> dict[str, Any]:
    mine = [run for run in runs if run["way"] == way and run["streams"] == streams]
    row = {
        key: statistics.median(run[key] for run in mine)
        for key in mine[0]
        if key not in ("round", "way")
    }
    return {"way": way, **row, "errors": sum(run["errors"] for run in mine)}


def _plot(rows: list[dict[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5))
    names = [
        f"{row['way']}\n{row['streams']} stream{'s' if row['streams'] > 1 else ''}" for row in rows
    ]
    for key, offset in (("ttft_p50_ms", -0.2), ("ttft_p99_ms", 0.2)):
        left.bar([i + offset for i in range(len(rows))], [r[key] for r in rows], 0.4, label=key)
    left.set_xticks(range(len(rows)), names, fontsize=8)
    left.set_ylabel("ms")
    left.set_title("Time to first token (engine: 20 ms)")
    left.legend(fontsize=8)
    through = [row for row in rows if row["way"] == "pointsman" and row["streams"] > 1]
    bottom = [0.0] * len(through)
    for key in ("ingress_cpu_us_per_token", "haproxy_cpu_us_per_token"):
        values = [row[key] for row in through]
        right.bar([str(row["streams"]) for row in through], values, bottom=bottom, label=key)
        bottom = [a + b for a, b in zip(bottom, values, strict=True)]
    right.axhline(100, color="grey", linestyle="--", linewidth=1)
    right.set_xlabel("streams, 100 tokens each")
    right.set_ylabel("CPU µs per streamed token")
    right.set_title("CPU per token (bar: 100 µs in the ingress)")
    right.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(report.RESULTS / "overhead.png", dpi=110)


if __name__ == "__main__":
    main()
