"""What a decision costs: parse, session, classification and lane, on one core.

`prepare` is the whole of it, as every request pays it, with a cold score cache. Both are
in CPU time of the thread, the least of some passes by call: what other processes of the
machine add to a call, in waiting and in cold caches, is not the decision's.
"""

from __future__ import annotations

import time
from typing import Any
from unittest.mock import Mock, patch

import numpy as np
import orjson

from benchmarks.support import report
from benchmarks.support.deployment import ROOT
from router.errors import Rejected
from serve_app.bodies.routes import ROUTES
from serve_app.bodies.steps import at_once
from serve_app.metrics import Metrics
from serve_app.pipeline.pipeline import Pipeline
from serve_app.pipeline.state import IngressState
from serve_app.routing.reload import load_policies

CALLS, PASSES = 1000, 5
WORDS = ("please", "compare", "the", "two", "plans", "then", "say", "which", "is", "best")


def measure(tokens: int, turns: int) -> dict[str, Any]:
    """Cost of decisions on conversations of `turns` user turns of `tokens` tokens."""
    passes = 1e3 * np.array([one_pass(tokens, turns) for _ in range(PASSES)])
    least, all_calls = passes.min(axis=0), np.moveaxis(passes, 1, 0).reshape(2, -1)
    return {
        "prompt_tokens_a_turn": tokens,
        "user_turns": turns,
        **{
            f"{part}_p{level}_ms": float(np.quantile(values, level / 100))
            for part, values in zip(("prepare", "decision"), least, strict=True)
            for level in (50, 99)
        },
        "decision_p99_ms_all_passes": float(np.quantile(all_calls[1], 0.99)),
    }


def one_pass(tokens: int, turns: int) -> tuple[list[float], list[float]]:
    """CPU seconds of each call of a new pipeline: `prepare`, and the decision in it."""
    policies = load_policies(
        ROOT / "configs/fleets/local.yaml", ROOT / "benchmarks/overhead_tenants.yaml"
    )
    state = IngressState(policies, "bench")
    pipeline = Pipeline(state, Mock(), Metrics())
    tenant = policies.auth.tenant("bench")
    if tenant is None:
        raise RuntimeError("no tenant 'bench'")
    spent, lanes = [], []
    for number in range(CALLS):
        text = " ".join(WORDS[(i + number) % len(WORDS)] for i in range(tokens))
        messages = []
        for turn in range(turns):
            messages.append({"role": "user", "content": f"{number} {turn} {text}"})
            messages.append({"role": "assistant", "content": "Yes."})
        raw = orjson.dumps({"model": "auto", "messages": messages[:-1]})
        call = pipeline.call(ROUTES["/v1/chat/completions"], {}, tenant)
        begun = time.thread_time()
        plan = at_once(pipeline.preparation.preparing(call, raw))
        spent.append(time.thread_time() - begun)
        lanes.append(call.stages.get("classify", 0.0))
        if (
            isinstance(plan, Rejected)
            and tokens * turns < policies.routing.lanes["chat"].window_tokens
        ):
            raise RuntimeError(plan)
    return spent, lanes


def main() -> None:
    cases = [(20, 1), (100, 1), (1000, 1), (100, 3), (600, 3)]
    # Stages of a call are taken by this clock.
    with patch("time.perf_counter", time.thread_time):
        rows = [measure(tokens, turns) for tokens, turns in cases]
    notes = (
        "`decision`: lane decision with classification, no score cached. `prepare`: that and "
        f"reading the body. CPU time of the thread, the least of {PASSES} passes by call; "
        "`all_passes`: every call of every pass. Command: `make bench-decision`."
    )
    report.write("decision", rows, title="Cost of a route decision", notes=notes)
    _plot(rows)


def _plot(rows: list[dict[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.5))
    names = [f"{r['user_turns']} x {r['prompt_tokens_a_turn']}" for r in rows]
    for key, offset in (("decision_p50_ms", -0.2), ("decision_p99_ms", 0.2)):
        axes.bar([i + offset for i in range(len(rows))], [r[key] for r in rows], 0.4, label=key)
    axes.axhline(0.5, color="grey", linestyle="--", linewidth=1)
    axes.set_xticks(range(len(rows)), names)
    axes.set_xlabel("user turns x tokens a turn")
    axes.set_ylabel("ms (bar: p99 0.5 ms)")
    axes.legend()
    figure.tight_layout()
    figure.savefig(report.RESULTS / "decision.png", dpi=110)


if __name__ == "__main__":
    main()
