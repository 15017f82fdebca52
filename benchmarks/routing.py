"""How well the classifier routes, beside what a user would pick instead, and its cost.

Quality needs labelled rows, which are not in the repository: ROUTING_DATA names a
directory with outcomes.jsonl.gz and prompts.jsonl.gz in the form that `pointsman
classifier train` reads. Without it only cost is measured. HELD_OUT may name what
`pointsman classifier evaluate --held-out --minilm --json` printed, to not do it again. The
classifier is trained again without each part; LiteLLM's heuristic router needs no
training and runs in the peers' environment; RouteLLM's rows are as published.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.support import report
from benchmarks.support.deployment import ROOT
from classifier import DEFAULT_ARTIFACT, load_artifact
from classifier.embedded import Embedder
from classifier.features.words import common_words
from classifier.training import evaluate
from classifier.training.build import training_set
from classifier.training.dataset import Dataset, read_rows
from classifier.training.teacher import Teacher, teacher_tokenizer

TOKENS = (20, 100, 1000, 8000)
CALLS = 2000
# A new scorer each; medians of them. Other guests of a machine come and go.
ROUNDS = 7
# With it 3 % of a text's distinct words were never seen, as with 20,000 prompts of the
# benchmarks that ROUTING_DATA holds, in random order: 2.9 %.
UNSEEN = 40
LITELLM = "LiteLLM heuristics"
# arXiv 2406.18665, the best router of each table: CPT50, CPT80, APGR.
ROUTELLM = {
    "MMLU": (0.354, 0.714, 0.603),
    "GSM8K": (0.336, 0.633, 0.622),
    "MT-Bench": (0.134, 0.313, 0.802),
}
_MEMORY = """
import gc, numpy, orjson
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20
gc.collect(); before = resident()
import classifier
scorer = classifier.load_artifact(classifier.DEFAULT_ARTIFACT).scorer()
scorer.score(classifier.Conversation("Prove it."))
gc.collect(); print(resident() - before)
"""


def main() -> None:
    rows = [*latency(), memory()]
    folder = os.environ.get("ROUTING_DATA")
    if folder:
        paths = [Path(folder) / f"{name}.jsonl.gz" for name in ("outcomes", "prompts")]
        rows = [*quality(read_rows(paths)), *rows]
    notes = (
        "APGR, CPT50, CPT80: RouteLLM (arXiv 2406.18665), exact curve, 95 % bootstrap interval; "
        "ten-bin form beside it; `over_length`: APGR above prompt length's, with the interval of "
        "the difference over the same draws. Every part was held out of training, words and "
        "embedding included. Precision: complex rows among the top 3 % of 97 % everyday and 3 % "
        "complex rows, both sources held out. Times: one core, prompts not seen before. Command: "
        "`ROUTING_DATA=DIR make bench-routing`."
    )
    # Without the data only the cost is measured; results with the quality stay.
    name = "routing" if folder else "routing_cost"
    report.write(name, rows, title="Routing by complexity", notes=notes)
    _plot(rows, name)


def quality(data: Dataset) -> list[dict[str, Any]]:
    """Held-out figures of the classifier and the baselines."""
    found = held_out(data)
    table = found["held_out"]
    scores = litellm_scores([str(text) for text in data.text])
    for part in dict.fromkeys(row["part"] for row in table):
        inside = (data.source == part) & data.measured
        if inside.any():
            table.append(evaluate.figures(part, LITELLM, scores[inside], data.gain[inside]))
    for name, (cpt50, cpt80, apgr) in ROUTELLM.items():
        published = {"cpt50_10_bins": cpt50, "cpt80_10_bins": cpt80, "apgr_10_bins": apgr}
        table.append({"part": f"{name}, published", "by": "RouteLLM, best router", **published})
    training = load_artifact(DEFAULT_ARTIFACT).training
    calibration = [
        {"part": part, "by": "classifier", "ece_15_bins": value}
        for part, value in {
            **training["ece_by_held_out_source"],
            "all held-out sources": training["ece_pooled"],
        }.items()
    ]
    precision = [
        {"part": f"{row['everyday']} + {row['complex']}", "by": name, "precision_at_3_percent": v}
        for row in found["top_3_percent_precision"]
        for name, v in ((k.split(", ")[1], v) for k, v in row.items() if "precision" in k)
    ]
    return [*table, *calibration, *precision]


def held_out(data: Dataset) -> dict[str, list[dict[str, Any]]]:
    """What `evaluate --held-out` finds, or found before."""
    done = os.environ.get("HELD_OUT")
    if done:
        tables: dict[str, list[dict[str, Any]]] = json.loads(Path(done).read_text())
        return tables
    teacher = Teacher(Path.home() / ".cache" / "pointsman" / "teacher")
    rows = training_set(data)
    return {
        "held_out": evaluate.held_out(rows, teacher.embed(list(data.text))),
        "top_3_percent_precision": evaluate.top_precision(rows),
    }


def litellm_scores(texts: list[str]) -> np.ndarray:
    """Scores of LiteLLM's heuristic router, shape (texts,)."""
    return np.array([row["score"] for row in _litellm(texts)])


def latency() -> list[dict[str, Any]]:
    """Milliseconds a decision by prompt length, for each way of deciding."""
    texts = {tokens: sample_texts(tokens, CALLS) for tokens in TOKENS}
    artifact = load_artifact(DEFAULT_ARTIFACT)
    rounds = [evaluate.latency(artifact.scorer(), texts) for _ in range(ROUNDS)]
    rows = [
        {
            "part": f"{tokens} tokens",
            "by": "classifier",
            "p50_ms": median(measured[number]["p50_ms"] for measured in rounds),
            "p99_ms": median(measured[number]["p99_ms"] for measured in rounds),
        }
        for number, tokens in enumerate(texts)
    ]
    embed = Embedder()
    for tokens in TOKENS:
        begun = [_timed(lambda text=text: embed([text])) for text in texts[tokens][:30]]
        rows.append(_times(tokens, "MiniLM", begun))
        seconds = [row["seconds"] for row in _litellm(texts[tokens][:300])]
        rows.append(_times(tokens, LITELLM, seconds))
    return rows


def memory() -> dict[str, Any]:
    """What an ingress replica that has numpy already gains in size."""
    text = subprocess.run(
        [sys.executable, "-c", _MEMORY], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    return {"part": "memory", "by": "classifier", "resident_mb": float(text) * 2**20 / 1e6}


def sample_texts(tokens: int, count: int) -> list[str]:
    """Distinct texts: words by Zipf's law, one in `UNSEEN` never seen before."""
    rng = random.Random(tokens)
    words = [word.decode() for word in common_words(teacher_tokenizer().get_vocab())]
    weights = [1 / (rank + 10) for rank in range(len(words))]
    texts = []
    for _ in range(count):
        chosen = rng.choices(words, weights, k=max(1, int(tokens / 1.2)))
        for place in range(UNSEEN - 1, len(chosen), UNSEEN):
            chosen[place] += rng.choice(words)
        texts.append(" ".join(chosen))
    return texts


def _litellm(texts: list[str]) -> list[dict[str, float]]:
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    out = subprocess.run(
        [ROOT / ".venv-peers/bin/python", ROOT / "benchmarks/peers/litellm_complexity.py"],
        input=lines,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    ).stdout
    return [json.loads(line) for line in out.splitlines()]


def _timed(call: Any) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def _times(tokens: int, by: str, seconds: list[float]) -> dict[str, Any]:
    p50, p99 = 1e3 * np.quantile(seconds, [0.5, 0.99])
    return {"part": f"{tokens} tokens", "by": by, "p50_ms": float(p50), "p99_ms": float(p99)}


def _plot(rows: list[dict[str, Any]], name: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), width_ratios=(3, 2))
    measured = [row for row in rows if "apgr" in row]
    parts = list(dict.fromkeys(row["part"] for row in measured))
    names = list(dict.fromkeys(row["by"] for row in measured))
    for number, by in enumerate(names):
        of = {row["part"]: row for row in measured if row["by"] == by}
        at = [n for n, part in enumerate(parts) if part in of]
        value = [of[parts[n]]["apgr"] for n in at]
        low = [of[parts[n]]["apgr"] - of[parts[n]]["apgr_low"] for n in at]
        high = [of[parts[n]]["apgr_high"] - of[parts[n]]["apgr"] for n in at]
        places = [n + 0.18 * (number - (len(names) - 1) / 2) for n in at]
        left.errorbar(value, places, xerr=[low, high], fmt="o", capsize=2, label=by)
    left.axvline(0.5, color="grey", linewidth=1)
    left.set_yticks(range(len(parts)), [part.replace(", ", ",\n") for part in parts])
    left.set_xlabel("APGR, held out (grey: random)")
    left.invert_yaxis()
    if measured:
        left.legend(fontsize=8)
    timed = [row for row in rows if "p50_ms" in row]
    for number, by in enumerate(dict.fromkeys(row["by"] for row in timed)):
        mine = [row for row in timed if row["by"] == by]
        tokens = [int(row["part"].split()[0]) for row in mine]
        colour = f"C{number}"
        right.plot(tokens, [row["p50_ms"] for row in mine], "o-", color=colour, label=by)
        right.plot(tokens, [row["p99_ms"] for row in mine], "--", color=colour)
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_xticks(TOKENS, [str(tokens) for tokens in TOKENS])
    right.set_xlabel("prompt tokens")
    right.set_ylabel("ms a decision (line: p50, dashes: p99)")
    right.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(report.RESULTS / f"{name}.png", dpi=110)


if __name__ == "__main__":
    main()
