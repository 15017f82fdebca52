"""How long the embedded fleet takes to be ready, and what it holds and burns when idle.

Warm: everything installed and the model converted. Memory is the proportional set
size (PSS), which counts a shared page once, summed over Ray, HAProxy and engines. Idle:
CPU time of a minute without requests, in percent of one core.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from benchmarks.support import report
from benchmarks.support.deployment import cpu_s, deployed, pids_of
from serve_app.engine.embedded_model import prepare

OURS = {
    "engines": ("VLLM::",),
    "lane replicas": ("ray::ServeReplica:pointsman:lane",),
    "ingress": ("ray::ServeReplica:pointsman:ingress",),
    "watchmen": ("serve_app/watchdog/watchdog.py",),
}
PARTS = {
    **OURS,
    "ours and vLLM's": tuple(fragment for part in OURS.values() for fragment in part),
    "all": ("VLLM::", "ray::", "haproxy -db", "raylet", "gcs_server", "ray/dashboard", "serve run"),
}


SETTLE_S = 10.0
IDLE_S = 60.0


def pids(fragments: tuple[str, ...]) -> list[int]:
    """The processes that these fragments name."""
    return list({pid for fragment in fragments for pid in pids_of(fragment)} - {os.getpid()})


def pss_mib(fragments: tuple[str, ...]) -> float:
    """Their proportional set size."""
    kib = 0
    for pid in pids(fragments):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    kib += int(line.split()[1])
    return kib / 1024


def idle_percent() -> dict[str, float]:
    """CPU of each part over a minute in which nobody asks, in percent of one core."""
    time.sleep(SETTLE_S)
    found = {name: pids(fragments) for name, fragments in PARTS.items()}
    before = {name: cpu_s(part) for name, part in found.items()}
    begun = time.monotonic()
    time.sleep(IDLE_S)
    elapsed = time.monotonic() - begun
    return {name: (cpu_s(part) - before[name]) / elapsed * 100 for name, part in found.items()}


def main() -> None:
    """Start once, measure, write the table and the plot."""
    prepare()
    begun = time.monotonic()
    with deployed(fleet="local"):
        ready_s = time.monotonic() - begun
        idle = idle_percent()
        rows: list[dict[str, float | str]] = [
            {"part": name, "pss_mib": pss_mib(parts), "idle_cpu_percent": idle[name]}
            for name, parts in PARTS.items()
        ]
    rows.append({"part": "seconds to ready", "ready_s": ready_s})
    notes = (
        "The embedded fleet, two vLLM engines, warm start to `/ready` (warm-up turns included). "
        "Idle: a minute without requests, percent of one core. "
        "Bars: 180 s, 8 GB, idle 10 % for ours and vLLM's. Command: `make bench-startup`."
    )
    report.write("startup", rows, title="Start-up and memory of the embedded fleet", notes=notes)
    _plot(rows)


def _plot(rows: list[dict[str, float | str]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    sized = [row for row in rows if "pss_mib" in row]
    figure, axes = plt.subplots(figsize=(7, 3))
    axes.bar([row["part"] for row in sized], [row["pss_mib"] for row in sized])
    axes.set_ylabel("PSS, MiB")
    axes.set_title(f"Ready after {rows[-1]['ready_s']:.0f} s (bar 180 s, 8 GB)", fontsize=9)
    figure.tight_layout()
    figure.savefig(report.RESULTS / "startup.png", dpi=110)


if __name__ == "__main__":
    main()
