"""What each way in to the same engine costs, side by side.

    make bench-overhead                       # everything: about 45 minutes
    python -m benchmarks.overhead --floor     # beside a bare Serve deployment: 20 minutes
    python -m benchmarks.overhead --ways direct,pointsman --rounds 1

The engine is simulated, with fixed TTFT and ITL, and says so. The ways are started
and measured in turn, in rotated order; every figure is the median of the rounds. CPU is
read from /proc: `path` are the processes that a request passes through before the
engine, `tree` those and what the gateway keeps running besides (Ray's daemons). What
they use while nothing is asked is measured just before the load, and stands beside it:
a token's CPU has it in it, its marginal CPU has not.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import threading
import time
from typing import Any

import aiohttp

from benchmarks.support import held_streams, report
from benchmarks.support.deployment import ROOT, cpu_s, rss_mib
from benchmarks.support.held_streams import request
from benchmarks.support.ways import WAYS, Timing, Way
from simulator.virtual_time.report import quantile

ROUNDS = 3
PROMPT = "Please summarize our refund policy for an enterprise customer. " * 8
HELD_TIMING = Timing(0.02, 0.2)
HELD = (250, 500, 1000, 1500, 2000, 2500)
HELD_TOKENS, HELD_RAMP_S = 100, 10.0
"""Streams of 20 s that begin over 10 s: all are open for as long. Where 2,500 such streams come and
go, 125 begin a second; 2,500 that begin within one second would time how fast they begin."""
IDLE_S = 15.0
"""A timer of five seconds fires three times in it, and /proc counts to 0.07 %."""

FLOOR = ("direct", "pointsman", "serve-relay", "vllm-router", "litellm")
OWN_ENVIRONMENT = (
    "direct", "pointsman", "serve-relay", "ray", "ray-throughput", "ray-unbatched",
)  # fmt: skip
"""What runs from the product's environment; the other ways have one of their own."""


async def one(
    session: aiohttp.ClientSession, url: str, body: dict[str, Any]
) -> tuple[float, float, bool]:
    """One streamed request: TTFT, duration, and whether it was whole."""
    begun, first, tail = time.perf_counter(), 0.0, b""
    try:
        async with session.post(f"{url}/v1/chat/completions", json=body) as response:
            async for chunk in response.content.iter_any():
                first = first or time.perf_counter() - begun
                tail = (tail + chunk)[-64:]
            whole = response.status == 200 and tail.endswith(b"[DONE]\n\n")
    except (aiohttp.ClientError, TimeoutError, OSError):
        whole = False
    return first, time.perf_counter() - begun, whole


async def load(way: Way, streams: int, each: int, tokens: int) -> list[tuple[float, float, bool]]:
    """`each` streamed requests on each of `streams` keep-alive connections."""

    async def client(number: int) -> list[tuple[float, float, bool]]:
        async with aiohttp.ClientSession(headers=way.headers) as session:
            # Not in lockstep: that would time the queue before the engine.
            await asyncio.sleep(number / streams)
            return [
                await one(session, way.url, _body(way, f"{number}.{k}", tokens, stream=True))
                for k in range(each)
            ]

    parts = await asyncio.gather(*(client(number) for number in range(streams)))
    return [result for part in parts for result in part]


async def whole_answers(way: Way, clients: int, each: int) -> int:
    """Requests that are not streamed; returns how many failed."""

    async def client(number: int) -> int:
        failed = 0
        async with aiohttp.ClientSession(headers=way.headers) as session:
            for k in range(each):
                body = _body(way, f"{number}.{k}", 2, stream=False)
                try:
                    async with session.post(f"{way.url}/v1/chat/completions", json=body) as r:
                        answer = await r.json()
                        failed += r.status != 200 or not answer["choices"]
                except (aiohttp.ClientError, TimeoutError, OSError, KeyError):
                    failed += 1
        return failed

    return sum(await asyncio.gather(*(client(number) for number in range(clients))))


def _body(way: Way, tag: str, tokens: int, *, stream: bool) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"{tag}: {PROMPT}"}]
    return {"model": way.model, "messages": messages, "stream": stream, "max_tokens": tokens}


def measure(way: Way) -> dict[str, Any]:
    """Every figure of one way but the streams it holds."""
    row: dict[str, Any] = {"errors": 0}
    way.settle()
    asyncio.run(load(way, 8, 4, 4))
    idle = _idle(way)
    for part, share in idle.items():
        row[f"{part}_idle_percent"] = 100 * share
    for streams, each, tokens in ((1, 150, 2), (64, 3, 100)):
        before, begun = _cpu(way), time.monotonic()
        results = asyncio.run(load(way, streams, each, tokens))
        used, took_s = _cpu(way, before), time.monotonic() - begun
        ttft = [1000 * first for first, _, _ in results]
        row["errors"] += sum(not whole for _, _, whole in results)
        row[f"ttft_p50_ms_{streams}"] = quantile(ttft, 0.5)
        row[f"ttft_p99_ms_{streams}"] = quantile(ttft, 0.99)
        if streams > 1:
            for part, seconds in used.items():
                a_token = 1e6 / (len(results) * tokens)
                row[f"{part}_cpu_us_per_token"] = a_token * seconds
                row[f"{part}_marginal_us_per_token"] = a_token * (seconds - took_s * idle[part])
    before = _cpu(way)
    row["errors"] += asyncio.run(whole_answers(way, 8, 50))
    for part, seconds in _cpu(way, before).items():
        row[f"{part}_cpu_us_per_request"] = 1e6 * seconds / 400
    row["path_rss_mib"] = rss_mib(way.path())
    row["tree_rss_mib"] = rss_mib(way.tree())
    return row


def _idle(way: Way) -> dict[str, float]:
    """Parts of a core that the way's parts use while nothing is asked."""
    # What the last requests left to do is not idleness.
    time.sleep(2)
    before, begun = _cpu(way), time.monotonic()
    time.sleep(IDLE_S)
    used, took_s = _cpu(way, before), time.monotonic() - begun
    return {part: seconds / took_s for part, seconds in used.items()}


def _cpu(way: Way, before: dict[str, float] | None = None) -> dict[str, float]:
    """CPU seconds of the way's parts, less what they had used before."""
    parts = {"path": way.path, "tree": way.tree, "engine": way.engine}
    return {name: cpu_s(pids()) - (before or {}).get(name, 0.0) for name, pids in parts.items()}


def hold(way: Way) -> dict[str, Any]:
    """The most streams at 5 tokens/s that end whole and in time, and what they cost."""
    row: dict[str, Any] = {"streams_held": 0}
    for streams in HELD:
        errors, slow, cost = _hold_so_many(way, streams)
        # A tenth late: the rate that the reader sees is still 4.5 tokens/s.
        if errors or slow > 1.1:
            row |= {"errors_past_held": errors, "p99_slowdown_past_held": slow}
            break
        row |= {"streams_held": streams, "p99_slowdown_held": slow, **cost}
    return row


def _hold_so_many(way: Way, streams: int) -> tuple[int, float, dict[str, float]]:
    """Streams that broke, the 99th percentile of their times over what is due, and the cost."""
    nominal = HELD_TIMING.ttft_s + HELD_TIMING.itl_s * (HELD_TOKENS - 1)
    asked = [
        request(way.url, way.headers, _body(way, f"{streams}.{n}", HELD_TOKENS, stream=True))
        for n in range(streams)
    ]
    rss = [rss_mib(way.path())]
    when_full = threading.Timer(HELD_RAMP_S + 5, lambda: rss.append(rss_mib(way.path())))
    when_full.start()
    before, own, begun = _cpu(way), time.process_time(), time.monotonic()
    results = held_streams.hold(way.url, asked, HELD_RAMP_S)
    seconds = time.monotonic() - begun
    used = {**_cpu(way, before), "client": time.process_time() - own}
    when_full.join()
    errors = sum(not x.whole for x in results)
    slow = quantile([x.took_s for x in results], 0.99) / nominal
    busy = ", ".join(f"{part} {100 * x / seconds:.0f} %" for part, x in used.items())
    print(f"  {way.name}: {streams} streams, {errors} errors, p99 x{slow:.2f}; {busy}")
    cost = {
        f"held_{part}_cpu_us_per_token": 1e6 * used[part] / (streams * HELD_TOKENS)
        for part in ("path", "engine", "client")
    }
    return errors, slow, {**cost, "held_path_kib_per_stream": 1024 * (rss[-1] - rss[0]) / streams}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ways", default=",".join(WAYS), help="comma-separated")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--no-hold", action="store_true")
    parser.add_argument("--only-hold", action="store_true", help="print streams held, no more")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--out-of-step",
        action="store_true",
        help="every stream's tokens at times of its own; writes overhead_out_of_step",
    )
    kind.add_argument(
        "--floor",
        action="store_true",
        help=f"only {', '.join(FLOOR)}; holds no streams; writes overhead_floor",
    )
    parser.add_argument("--dry", action="store_true", help="print; write no results")
    args = parser.parse_args()
    names = list(FLOOR) if args.floor else args.ways.split(",")
    if set(names) - set(OWN_ENVIRONMENT):
        subprocess.run([ROOT / "scripts/install-peers"], check=True)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    held: dict[str, dict[str, Any]] = {name: {} for name in names}
    for number in range(0 if args.only_hold else args.rounds):
        shift = number * len(names) // args.rounds
        for name in names[shift:] + names[:shift]:
            with WAYS[name](Timing(in_step=not args.out_of_step)) as way:
                runs[name].append(measure(way))
            print(name, runs[name][-1], flush=True)
    for name in names if not (args.no_hold or args.floor) else ():
        with WAYS[name](HELD_TIMING) as way:
            held[name] = hold(way)
    if args.only_hold:
        print(report.table([{"way": name, **held[name]} for name in names]))
        return
    rows = [_row(name, runs, held[name]) for name in names]
    if args.dry:
        print(report.table(rows))
        return
    result, title, command = "overhead", "The same work side by side", "make bench-overhead"
    if args.no_hold:
        command = "python -m benchmarks.overhead --no-hold"
    if args.out_of_step:
        result, title = "overhead_out_of_step", f"{title}, streams out of step"
        command = "python -m benchmarks.overhead --out-of-step"
    elif args.floor:
        result, title = "overhead_floor", "What a router on Ray Serve cannot cost less than"
        command = "python -m benchmarks.overhead --floor"
    notes = (
        f"Simulated engine: 20 ms to the first token, 50 ms between tokens (200 ms where "
        f"streams are held). Median of {args.rounds} rounds; engine, gateway and load generator "
        f"share {os.cpu_count()} cores. `path`: processes before the engine that a request "
        "passes through; `tree`: all that the gateway keeps running. `idle_percent`: of a core, "
        f"in {IDLE_S:g} s before the load; `marginal`: a token's CPU less that. `_1`, `_64`: "
        "streams at once. "
        f"Peers: {', '.join((ROOT / 'requirements/peers.in').read_text().split())}. "
        f"How to read it: docs/benchmarks.md. Command: `{command}`."
    )
    report.write(result, rows, title=title, notes=notes)
    _plot(rows, result)


def _row(name: str, runs: dict[str, list[dict[str, Any]]], held: dict[str, Any]) -> dict[str, Any]:
    mine = runs[name]
    row: dict[str, Any] = {
        key: statistics.median(run[key] for run in mine) for key in mine[0] if key != "errors"
    }
    row["errors"] = sum(run["errors"] for run in mine)
    for streams in (1, 64) if "direct" in runs else ():
        for q in (50, 99):
            base = statistics.median(run[f"ttft_p{q}_ms_{streams}"] for run in runs["direct"])
            row[f"added_ttft_p{q}_ms_{streams}"] = row[f"ttft_p{q}_ms_{streams}"] - base
    return {"way": name, **row, **held}


def _plot(rows: list[dict[str, Any]], name: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shown = [row for row in rows if row["way"] != "direct"]
    names = [row["way"] for row in shown]
    panels = [
        ("path_cpu_us_per_token", "CPU µs per streamed token\n(request path, 64 streams)"),
        ("path_cpu_us_per_request", "CPU µs per request\n(request path, not streamed)"),
        ("added_ttft_p50_ms_1", "added TTFT p50, ms\n(one stream)"),
        ("streams_held", "streams held at 5 tokens/s\n(2 cores, engine and client included)"),
    ]
    panels = [panel for panel in panels if any(panel[0] in row for row in shown)]
    figure, axes = plt.subplots(1, len(panels), figsize=(15, 4), sharey=True)
    for axis, (key, title) in zip(axes, panels, strict=True):
        values = [float(row.get(key) or 0) for row in shown]
        colours = ["tab:orange" if name == "pointsman" else "tab:blue" for name in names]
        bars = axis.barh(names, values, color=colours)
        labels = [f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in values]
        if key == "streams_held":
            labels = [
                f"≥ {t}" if v == max(HELD) else t for v, t in zip(values, labels, strict=True)
            ]
        axis.bar_label(bars, labels, padding=2, fontsize=8)
        axis.set_title(title, fontsize=9)
        axis.margins(x=0.2)
    axes[0].invert_yaxis()
    figure.suptitle(
        "The same simulated engine behind each gateway (less is better; streams held: more)"
    )
    figure.tight_layout()
    figure.savefig(report.RESULTS / f"{name}.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
