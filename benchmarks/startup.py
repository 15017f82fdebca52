"""How long the embedded fleet takes to be ready, and how much memory it holds.

Warm: everything installed and the model converted. Memory is the proportional set
size (PSS), which counts a shared page once, summed over Ray, HAProxy and engines.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from benchmarks import report
from benchmarks.deployment import deployed, pids_of
from serve_app.embedded_model import prepare

PARTS = {
    "engines": ("VLLM::",),
    "lane replicas": ("ray::ServeReplica:pointsman:lane",),
    "ingress": ("ray::ServeReplica:pointsman:ingress",),
    "all": ("VLLM::", "ray::", "haproxy -db", "raylet", "gcs_server", "ray/dashboard", "serve run"),
}


def pss_mib(fragments: tuple[str, ...]) -> float:
    """Proportional set size of the processes that these fragments name."""
    kib = 0
    for pid in {pid for fragment in fragments for pid in pids_of(fragment)} - {os.getpid()}:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    kib += int(line.split()[1])
    return kib / 1024


def main() -> None:
    """Start once, measure, write the table and the plot."""
    prepare()
    begun = time.monotonic()
    with deployed(fleet="local"):
        ready_s = time.monotonic() - begun
        rows = [{"part": name, "pss_mib": pss_mib(parts)} for name, parts in PARTS.items()]
    rows.append({"part": "seconds to ready", "ready_s": ready_s})
    notes = (
        "The embedded fleet, two vLLM engines, warm start to `/ready` (warm-up turns included). "
        "Bars: 180 s, 8 GB. Command: `make bench-startup`."
    )
    report.write("startup", rows, title="Start-up and memory of the embedded fleet", notes=notes)
    _plot(rows)


def _plot(rows: list[dict[str, float | str]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    sized = [row for row in rows if "pss_mib" in row]
    figure, axes = plt.subplots(figsize=(5, 3))
    axes.bar([row["part"] for row in sized], [row["pss_mib"] for row in sized])
    axes.set_ylabel("PSS, MiB")
    axes.set_title(f"Ready after {rows[-1]['ready_s']:.0f} s (bar 180 s, 8 GB)", fontsize=9)
    figure.tight_layout()
    figure.savefig(report.RESULTS / "startup.png", dpi=110)


if __name__ == "__main__":
    main()
