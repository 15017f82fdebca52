"""A profile fitted to the local vLLM, and how well it tells what it was not fitted to.

    make bench-fit

Starts vLLM with the embedded model, fits a profile with `simulator.client.fit`, then runs the
same multi-turn workload on the real engine and, in virtual time, on the fitted one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.support import report
from benchmarks.support.deployment import ROOT, end_group, stop_everything
from serve_app.config.fleet import EMBEDDED
from serve_app.engine.embedded_model import resolve_source
from simulator.client.fit import fit_timing, measure
from simulator.client.load import Target, run_load
from simulator.model.profile import Profile, Scheduling
from simulator.virtual_time.report import summary
from simulator.virtual_time.virtual import run
from simulator.virtual_time.workload import Workload, load_workload

PORT = 18500
URL = f"http://127.0.0.1:{PORT}"
ACTIVE = (2, 6)
SECONDS = 75
COLUMNS = ("ttft_p50_ms", "ttft_p95_ms", "itl_p50_ms", "duration_p50_ms", "duration_p95_ms")


@contextlib.contextmanager
def vllm() -> Iterator[Scheduling]:
    """The engine's own server with the embedded model; yields its scheduler's settings."""
    stop_everything()
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1"]
    command += ["--model", resolve_source(EMBEDDED), "--served-model-name", "embedded"]
    command += ["--port", str(PORT), "--dtype", "float32", "--max-model-len", "2048"]
    command += ["--max-num-seqs", "16", "--max-num-batched-tokens", "2048", "--block-size", "32"]
    command += ["--kv-cache-memory-bytes", str(2**29), "--enforce-eager"]
    command += ["--enable-prompt-tokens-details"]
    # One compute thread; the load generator has the other core.
    env = {**os.environ, "OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    process = subprocess.Popen(
        command, cwd=ROOT, env=env, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield Scheduling(
            max_num_seqs=16, max_num_batched_tokens=2048, block_size=32, num_gpu_blocks=_blocks()
        )
    finally:
        end_group(process)
        stop_everything()


def _blocks(within_s: float = 180) -> int:
    """Blocks of the KV cache, by the engine's own metrics, once it answers."""
    deadline = time.monotonic() + within_s
    while True:
        with contextlib.suppress(urllib.error.URLError, OSError):
            text = urllib.request.urlopen(f"{URL}/metrics", timeout=2).read().decode()
            found = re.search(r'kv_cache_size_tokens="(\d+)"', text)
            if found:
                return int(found[1]) // 32
        if time.monotonic() > deadline:
            raise TimeoutError("vLLM did not become ready")
        time.sleep(0.5)


def _scaled(workload: Workload, factor: float) -> Workload:
    """The workload in the engine's tokens: texts are made in the simulator's."""
    stage = workload.stages[0]
    longer = stage.input.model_copy(update={"mean": stage.input.mean * factor})
    return workload.model_copy(
        update={
            "system_tokens": round(workload.system_tokens * factor),
            "stages": [stage.model_copy(update={"input": longer})],
        }
    )


def main() -> None:
    workload = load_workload(str(Path(__file__).with_name("fit_workload.yaml")))
    rows: list[dict[str, Any]] = []
    with vllm() as scheduling:
        seen = asyncio.run(measure(URL, "embedded", random=Random(1)))
        timing = fit_timing(seen)
        longest = max(tokens for tokens, _ in seen.ttft_ms)
        profile = Profile(name="fitted", source="local vLLM", timing=timing, scheduling=scheduling)
        print(timing.model_dump())
        for active in ACTIVE:
            target = Target(URL, "embedded", extra={"ignore_eos": True, "temperature": 0})
            real = summary(
                asyncio.run(
                    run_load(
                        target, workload, duration_s=SECONDS, random=Random(active), active=active
                    )
                )
            )
            twin = run(
                profile, _scaled(workload, longest / 1024), duration_s=3600,
                random=Random(active), active=active,
            )  # fmt: skip
            simulated = summary(twin.turns)
            for column in COLUMNS:
                row = {"active": active, "figure": column, "vllm": real[column]}
                row |= {"simulated": simulated[column]}
                rows.append(row | {"error_share": simulated[column] / real[column] - 1})
            rows.append({"active": active, "figure": "cached_share", "vllm": real["cached_share"],
                         "simulated": simulated["cached_share"]})  # fmt: skip
            counts = f"{real['requests']}, {real['errors']}"
            rows.append({"active": active, "figure": "requests, errors", "vllm": counts})
    notes = (
        "vLLM with the embedded 135M model on one CPU thread, and the profile fitted to it, "
        f"under the same sessions ({SECONDS} s real, an hour virtual). The fit saw single prompts "
        "and even batches only. Command: `make bench-fit`."
    )
    report.write("fit", rows, title="A fitted profile beside its engine", notes=notes)
    _plot(rows)


def _plot(rows: list[dict[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shown = [row for row in rows if row["figure"] in COLUMNS]
    names = [f"{row['figure']}, {row['active']} sessions" for row in shown]
    figure, axis = plt.subplots(figsize=(7, 4))
    for key, offset in (("vllm", -0.2), ("simulated", 0.2)):
        places = [number + offset for number in range(len(shown))]
        axis.barh(places, [row[key] for row in shown], 0.4, label=key)
    axis.set_yticks(range(len(shown)), names, fontsize=8)
    axis.invert_yaxis()
    axis.set(xscale="log", xlabel="ms")
    axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(report.RESULTS / "fit.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
