"""Whether what a weak model knows of its own answer says who should answer, better than prompts.

Reads `benchmarks/data/cascade/answers.parquet` (`python -m benchmarks.support.cascade_run` makes
it, with the model): questions whose answers are computed, asked of SmolLM2-135M. Every
predictor is judged on sources that it was not fitted on. What a hold costs is taken from a real
run of an RTX 4090 (`benchmarks/data/rtx4090_run`): a client that would have had the first token
has the n-th one's time to wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.support import report
from benchmarks.support.cascade_run import FILE, PER_NAT
from benchmarks.support.cascade_tasks import SOURCES, tasks
from benchmarks.support.recorded_run import FIGURES, recorded
from classifier import DEFAULT_ARTIFACT, load_artifact
from evals.cascade.deferral import Judged, auc, held_out, quality, within
from evals.cascade.judging import (
    BASELINE,
    DECIDING,
    PREDICTORS,
    PROMPT,
    Figures,
    figures,
    is_better,
    judged,
)
from evals.cascade.signals import HELD_TOKENS, TOKEN_SIGNALS
from evals.cascade.two_stages import by_score, relayed, two_stages
from serve_app.config.routing import CascadeConfig

HOLDS = (1, 2, 4, 8, 16)
SEED = 0
STAGE_SHARES = (0.03, 0.1)
USUAL = CascadeConfig(uncertainty=1)
"""A deployment's defaults; the other rows of the table hold 8 tokens of the top half."""


def main() -> None:
    asked = answers()
    scorer = load_artifact(DEFAULT_ARTIFACT).scorer()
    rows = judged(asked, scorer)
    found = figures(rows, np.random.default_rng(SEED))
    holds = {held: judged(asked, scorer, held) for held in HOLDS}
    parts = {
        f"Sources held out, first {HELD_TOKENS} tokens": [_figures(one) for one in found],
        "By source": _sources(rows),
        "By tokens held": [_hold(held, part, asked) for held, part in holds.items()],
        "One number alone": [_alone(rows, name) for name in (*PROMPT, *TOKEN_SIGNALS, "agreement")],
        "Both stages with one share": _stages(rows, holds[USUAL.hold_tokens]),
    }
    _write(parts, _notes(found))
    _plot(rows, holds, found)


def _write(parts: dict[str, list[dict[str, Any]]], notes: str) -> None:
    """Write all rows as JSON, and a table of each part."""
    title, rows = "What a weak lane knows of its answer", []
    for what, table in parts.items():
        rows += [{"what": what, **row} for row in table]
    report.write("cascade", rows, title=title, notes=notes)
    text = "\n\n".join(f"## {what}\n\n{report.table(table)}" for what, table in parts.items())
    (report.RESULTS / "cascade.md").write_text(f"# {title}\n\n{notes}\n\n{text}\n")


def answers() -> list[dict[str, Any]]:
    """The questions that were asked, as rows of `classifier label --signals`."""
    kept = pq.read_table(FILE).to_pylist()
    asked = {name: tasks(name, 1 + max(row["number"] for row in kept)) for name in SOURCES}
    return [
        {
            "messages": asked[row["source"]][row["number"]].messages,
            "domain": row["source"],
            "weak": float(row["right"]),
            "tokens": row["answer_tokens"],
            "signals": {
                **({} if row["agreement"] is None else {"agreement": row["agreement"]}),
                **{
                    name: [one / PER_NAT for one in row[name]]
                    for name in ("logprob", "entropy", "margin")
                },
            },
        }
        for row in kept
    ]


def _figures(one: Figures) -> dict[str, Any]:
    beside = one.beside
    return {
        "by": one.name,
        "auc": one.auc.value, "auc_low": one.auc.low, "auc_high": one.auc.high,
        "auc_in_a_source": one.within.value,
        "in_a_source_low": one.within.low, "in_a_source_high": one.within.high,
        "area": one.area.value,
        **({} if beside is None else {
            "area_against_prompt": beside.better.value,
            "against_low": beside.better.low, "against_high": beside.better.high,
            "better_in_sources": f"{beside.wins} of {beside.sources}", "beats": one.beats,
        }),
        **{f"right_when_{share:.0%}_move": value for share, value in one.quality.items()},
    }  # fmt: skip


def _hold(held: int, rows: Judged, asked: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the first `held` tokens say, and what a client waits for them."""
    gaps = np.array([FIGURES["TPOT"](one) for one in recorded() if one.output_tokens > 1])
    scores = {name: held_out(rows, PREDICTORS[name]) for name in ("signals", "both")}
    return {
        "by": f"first {held} tokens",
        "auc": auc(scores["both"], rows.failed),
        "auc_in_a_source": within(scores["both"], rows),
        "auc_of_signals_alone": auc(scores["signals"], rows.failed),
        "added_ttft_p50_ms": 1e3 * (held - 1) * float(np.median(gaps)),
        "added_ttft_p99_ms": 1e3 * (held - 1) * float(np.quantile(gaps, 0.99)),
        "answers_that_end_within": float(np.mean([row["tokens"] <= held for row in asked])),
    }  # fmt: skip


def _alone(rows: Judged, name: str) -> dict[str, Any]:
    """One number as it is, fitted to nothing; under 0.5 it falls where answers fail."""
    known = rows.take(np.flatnonzero(~np.isnan(rows.features[name])))
    values = known.features[name]
    return {
        "by": name, "rows": len(known), "auc": auc(values, known.failed),
        "auc_in_a_source": within(values, known),
    }  # fmt: skip


def _sources(rows: Judged) -> list[dict[str, Any]]:
    names = [name for name in PREDICTORS if name != "all"]
    scores = {name: held_out(rows, PREDICTORS[name]) for name in names}
    table = []
    for source in SOURCES:
        at = rows.source == source
        by = {f"auc_{name}": auc(values[at], rows.failed[at]) for name, values in scores.items()}
        table.append({"by": source, "rows": int(at.sum()), "right": rows.weak[at].mean()} | by)
    return table


def _stages(rows: Judged, usual: Judged) -> list[dict[str, Any]]:
    """What the routing's own decisions make of one share, with and without a second stage."""
    table = []
    for share in STAGE_SHARES:
        ways = {"score alone": by_score(rows, share, np.random.default_rng(SEED))}
        ways["score, then mean log-probability"] = two_stages(
            usual, relayed(usual), share, np.random.default_rng(SEED), USUAL.part, USUAL.band
        )
        for name in ("signals", "both"):
            unsure, rng = held_out(rows, PREDICTORS[name]), np.random.default_rng(SEED)
            ways[f"score, then {name}"] = two_stages(rows, unsure, share, rng)
        table += [
            {
                "share": share, "by": name, "went_up": one.at_once,
                "moved": one.moved, "held": one.held, "right_then": one.quality,
            }
            for name, one in ways.items()
        ]  # fmt: skip
    return table


def _notes(found: Sequence[Figures]) -> str:
    verdict = "beats" if is_better(found) else "does not beat"
    return (
        "SmolLM2-135M-Instruct, float32, vLLM on a CPU, greedy; outcomes are computed. Each source "
        "is judged by fits on the others; 95 % intervals of a bootstrap over sources, then rows. "
        "The stronger lane counts as always right, so that what a move is worth is a bound. "
        "`beats`: the whole interval of the area's difference is over 0, and most sources agree. "
        f"'{DECIDING}' decides, and {verdict} '{BASELINE}' (the shipped score and the length). "
        "Added TTFT: (n - 1) TPOT of Llama-3.1-8B on an RTX 4090. "
        "Command: `make bench-cascade`; the answers: `python -m benchmarks.support.cascade_run`."
    )


def _plot(rows: Judged, holds: dict[int, Judged], found: Sequence[Figures]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5))
    shares = np.linspace(0, 1, 101)
    for one in found:
        scores = held_out(rows, PREDICTORS[one.name])
        left.plot(shares, [quality(scores, rows, x) for x in shares], label=one.name)
    right_now = float(rows.weak.mean())
    left.plot([0, 1], [right_now, 1], color="grey", linewidth=1, label="at random")
    best = np.minimum(right_now + shares, 1)
    left.plot(shares, best, color="grey", linestyle=":", label="by outcome")
    left.set_xlabel("share that moves to a lane that is always right")
    left.set_ylabel("answers that are right")
    left.legend(fontsize=8)
    for name in ("signals", "both"):
        value = [auc(held_out(part, PREDICTORS[name]), part.failed) for part in holds.values()]
        right.plot(list(holds), value, "o-", label=name)
    prompt = auc(held_out(rows, PREDICTORS[BASELINE]), rows.failed)
    right.axhline(prompt, color="C0", linestyle="--", label=BASELINE)
    right.axhline(0.5, color="grey", linewidth=1)
    right.set_xscale("log", base=2)
    right.set_xticks(HOLDS, [str(held) for held in HOLDS])
    right.set_xlabel("tokens held")
    right.set_ylabel("AUC of failure, sources held out")
    right.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(report.RESULTS / "cascade.png", dpi=110)


if __name__ == "__main__":
    main()
