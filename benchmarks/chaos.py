"""Replicas killed and stopped under live streams: what their readers see of it.

    make bench-chaos                        # 20 rounds of SIGKILL, 3 of SIGSTOP: 8 minutes
    python -m benchmarks.chaos --kills 2 --stops 0
    python -m benchmarks.chaos --engine real --kills 3 --stops 0      # vLLM: 8 minutes

Each round holds 32 greedy streams open over three replicas of a simulated engine (or two
of vLLM), two ingress replicas before them, and ends one engine replica at a random moment.
A request failed when its stream did not end whole; its text is compared with what the same
request answered beforehand, undisturbed. The undisturbed run is made twice: sums of floats
depend on what else is in the batch, so vLLM's own answers may differ, and how many do says
what the rounds can be held to. The added gap of a stream is its longest silence less the
longest of the streams on the other replicas in the same round.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import statistics
from typing import Any

import aiohttp

from benchmarks.support import report
from benchmarks.support.chaos_rounds import STREAMS, Chaos, Setting
from benchmarks.support.deployment import deployed
from simulator.virtual_time.report import quantile

SETTINGS = {
    "simulated": Setting(
        "chaos",
        replicas=3,
        tokens=120,
        back_s=120,
        title="Replicas lost under live streams",
        engine="tokens 50 ms apart, on three replicas of the simulated engine",
    ),
    "real": Setting(
        "chaos_real",
        replicas=2,
        tokens=80,
        back_s=300,
        title="Replicas lost under live streams (vLLM)",
        engine="tokens at most, on two replicas of vLLM (SmolLM2-135M in float32, two CPU "
        "cores for everything; the lost replica loads again on them meanwhile)",
    ),
}


async def rounds(url: str, setting: Setting, counts: dict[signal.Signals, int]) -> list[Any]:
    """A row for each way of ending a replica."""
    timeout = aiohttp.ClientTimeout(total=setting.back_s + 60)
    connector = aiohttp.TCPConnector(limit=0)
    rows = []
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        chaos = Chaos(session, url, setting)
        # A deployment is ready with its first replica.
        await chaos.await_replicas(set())
        chaos.expected = await chaos.undisturbed()
        again = await chaos.undisturbed()
        unlike = sum(not a.is_like(b) for a, b in zip(again, chaos.expected, strict=True))
        lengths = sorted(seen.usage["completion_tokens"] for seen in again)
        print(f"undisturbed, again: {unlike} of {STREAMS} different; tokens: {lengths}", flush=True)
        for how, count in counts.items():
            done = []
            for _ in range(count):
                done.append(await chaos.one_round(how))
                print(how.name, {k: v for k, v in done[-1].items() if k != "gaps"}, flush=True)
            if done:
                rows.append(_row(how, done) | {"undisturbed_different": f"{unlike}/{STREAMS}"})
    return rows


def _row(how: signal.Signals, done: list[dict[str, Any]]) -> dict[str, Any]:
    gaps = sorted(gap for one in done for gap in one["gaps"])
    added = sorted(max(0.0, gap - one["spared_gap_s"]) for one in done for gap in one["gaps"])

    def total(name: str) -> int:
        return sum(one[name] for one in done)

    return {
        "what": how.name,
        "rounds": len(done),
        "streams": STREAMS * len(done),
        "streams_hit": total("hit"),
        "failed_requests": total("failed"),
        "texts_or_usage_different": total("different"),
        "of_them_hit": total("different_hit"),
        "usage_different": total("different_counts"),
        "added_gap_ms_p50": 1e3 * quantile(added, 0.5),
        "added_gap_ms_p95": 1e3 * quantile(added, 0.95),
        "added_gap_ms_max": 1e3 * added[-1],
        "gap_ms_p50": 1e3 * quantile(gaps, 0.5),
        "gap_ms_p95": 1e3 * quantile(gaps, 0.95),
        "longest_gap_of_others_ms_p50": 1e3
        * statistics.median(one["spared_gap_s"] for one in done),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=SETTINGS, default="simulated")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--stops", type=int, default=3)
    options = parser.parse_args()
    setting = SETTINGS[options.engine]
    counts = {signal.SIGKILL: options.kills, signal.SIGSTOP: options.stops}
    with deployed(ready_s=600, fleet=str(setting.fleet)) as url:
        rows = asyncio.run(rounds(url, setting, counts))
    command = f"python -m benchmarks.chaos --engine {options.engine}"
    notes = (
        f"{STREAMS} live greedy streams of {setting.tokens} {setting.engine}, behind two ingress "
        "replicas; one engine replica ended at a random moment of each round. "
        "`undisturbed_different`: answers unlike in two runs with nothing ended. `of_them_hit`: "
        "of the different ones, those whose replica was ended. Command: "
        f"`{command} --kills {options.kills} --stops {options.stops}`."
    )
    report.write(setting.name, rows, title=setting.title, notes=notes)
    _plot(setting.name, rows)


def _plot(name: str, rows: list[dict[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 2.4))
    names = [f"{row['what']} ({row['streams_hit']} streams hit)" for row in rows]
    for shift, key in ((-0.2, "added_gap_ms_p50"), (0.2, "added_gap_ms_p95")):
        places = [place + shift for place in range(len(rows))]
        bars = axis.barh(places, [row[key] for row in rows], height=0.35, label=key)
        axis.bar_label(bars, fmt="%.0f", fontsize=8, padding=2)
    axis.set_yticks(range(len(rows)), names, fontsize=8)
    axis.set_xlabel("added gap, ms")
    axis.set_xscale("log")
    axis.set_xlim(1, 5 * max(row["added_gap_ms_p95"] for row in rows))
    axis.legend(fontsize=7, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    figure.tight_layout()
    figure.savefig(report.RESULTS / f"{name}.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
