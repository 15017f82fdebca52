"""What a contextual embedding costs beside the static score, and what it buys on held-out sources.

    python -m benchmarks.contextual

The cost is processor time in one process with one thread of torch, so it is the same on a busy
machine: of the whole score, by length and by how many texts are scored in a pass. What it buys is
read from `results/routing.json`, where both were held out in the same way.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import mean, median
from typing import Any

import numpy as np

from benchmarks.routing import sample_texts
from benchmarks.support import report
from classifier import DEFAULT_ARTIFACT, SURFACE_NAMES, Conversation, load_artifact
from classifier.embedded import MINILM, EmbeddingScorer
from classifier.heads import HEADS, Priors, Weights
from classifier.training.evaluate import CLASSIFIER, LENGTH
from classifier.training.evaluate import MINILM as BASELINE

TOKENS = (20, 100, 1000)
BATCHES = (1, 8, 32)
DIMENSIONS = 384
ROUNDS = 5
# Of the scored requests, near the thresholds of a share of 3 %: from half of it to twice.
ASKED = 0.045


def main() -> None:
    rows = [*cost(), *bought()]
    notes = (
        "`cpu_ms`: processor time of one text's whole score, one thread, the median of "
        f"{ROUNDS} passes; texts not seen before. `cpu_ms_a_request`: the same where only the "
        f"{ASKED:.1%} of the scored requests that lie near a threshold of 3 % are asked for. "
        "`apgr`: sources held out whole, from [routing](routing.md); `mean`: of the five sources. "
        "Command: `python -m benchmarks.contextual`."
    )
    report.write("contextual", rows, title="A contextual embedding beside the score", notes=notes)


def cost() -> list[dict[str, Any]]:
    """Milliseconds of processor a text, for each length and batch."""
    import torch

    torch.set_num_threads(1)
    slow, quick = _contextual(), load_artifact(DEFAULT_ARTIFACT).scorer()
    rows = []
    for tokens in TOKENS:
        texts = iter(sample_texts(tokens, (ROUNDS + 1) * (sum(BATCHES) + 1)))

        def some(count: int, texts: Iterator[str] = texts) -> list[Conversation]:
            return [Conversation(next(texts)) for _ in range(count)]

        alone = _cpu_ms(lambda c: [quick.score(x) for x in c], partial(some, 1))
        rows.append({"part": f"{tokens} tokens", "by": "classifier", "batch": 1, "cpu_ms": alone})
        for batch in BATCHES:
            each = _cpu_ms(slow.score_all, partial(some, batch)) / batch
            told = {"cpu_ms": each, "cpu_ms_a_request": each * ASKED}
            rows.append({"part": f"{tokens} tokens", "by": "MiniLM", "batch": batch, **told})
    return rows


def _contextual() -> EmbeddingScorer:
    """A scorer over the packaged model. Its weights are nothing, at the same cost."""
    marks, heads = np.zeros((len(SURFACE_NAMES), len(HEADS))), np.zeros(len(HEADS))
    line = np.array([0.0, 1.0])
    ends = np.zeros(len(SURFACE_NAMES))
    weights = Weights(ends, ends, marks, heads, marks, heads, line, line)
    embedding = np.zeros((DIMENSIONS, len(HEADS)))
    return EmbeddingScorer("minilm", MINILM, embedding, weights, Priors())


def _cpu_ms(
    score: Callable[[list[Conversation]], Any], some: Callable[[], list[Conversation]]
) -> float:
    """The median of the passes, each over new texts; the first warms up and is not counted."""
    score(some())
    spent = []
    for _ in range(ROUNDS):
        texts = some()
        begun = time.process_time()
        score(texts)
        spent.append(1000 * (time.process_time() - begun))
    return median(spent)


def bought() -> list[dict[str, Any]]:
    """APGR of sources that were held out whole, and the mean of them."""
    found = json.loads((report.RESULTS / "routing.json").read_text())["rows"]
    by = {(row["part"], row["by"]): row for row in found if "apgr" in row}
    names = (CLASSIFIER, BASELINE, LENGTH)
    sources = [part for part, name in by if name == CLASSIFIER]
    rows = []
    for name in names:
        values = {part: by[part, name]["apgr"] for part in sources}
        rows += [{"part": part, "by": name, "apgr": value} for part, value in values.items()]
        rows.append({"part": f"mean of {len(sources)}", "by": name, "apgr": mean(values.values())})
    return rows


if __name__ == "__main__":
    main()
