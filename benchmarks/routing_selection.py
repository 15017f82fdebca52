"""What choices made without a source bring on that source, beside prompt length.

Figures on held-out sources flatter a model whose settings were chosen by these figures.
Here each source is left out of the choice, too: settings are compared on the other
sources, each scored by a model that saw neither of the two, and the best of them is
judged on the source itself, scored by a model that did not see it. ROUTING_DATA: as in
`benchmarks.routing`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import combinations, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.support import report
from classifier.heads import KIND, KIND_CAP, NEED, NEED_WEIGHT, Floats
from classifier.training import evaluate
from classifier.training.build import training_set
from classifier.training.dataset import Dataset, Mask, read_rows
from classifier.training.held_out import TrainingSet
from classifier.training.metrics import exact_metrics
from classifier.training.model import Settings

OUTSIDE, RIDGES = (0.0, 0.001, 0.01), (3_000.0, 10_000.0, 100_000.0)
WORDS, CAPS, NEEDS = (0.0, 0.5, 1.0), (0.5, 1.0, 1.5), (0.1, 0.2, 0.4)
# Mean over pairs of sources; a choice under it is none. None of them has outcomes.
LEAST_PRECISION = 0.8


class Choice(NamedTuple):
    """Settings of `need`'s surface part, weight of its words, and how the heads meet."""

    outside: float
    ridge_surface: float
    words: float
    cap: float
    need: float


SHIPPED = Choice(Settings.outside, Settings.ridge_surface, 1.0, KIND_CAP, NEED_WEIGHT)


@dataclass(frozen=True)
class Held:
    """Parts of the score of rows that the model did not see, each of shape (rows,)."""

    data: Dataset
    kind: Floats
    words: Floats
    surface: dict[tuple[float, float], Floats]

    def score(self, choice: Choice, inside: Mask) -> Floats:
        surface = self.surface[choice.outside, choice.ridge_surface]
        need = surface + choice.words * self.words
        score: Floats = np.minimum(self.kind, choice.cap) + choice.need * need
        return score[inside]

    def over_length(self, choice: Choice, source: str) -> float:
        inside = self.data.source == source
        gain, length = self.data.gain[inside], evaluate.by_length(self.data.take(inside))
        score = self.score(choice, inside)
        return exact_metrics(score, gain).apgr - exact_metrics(length, gain).apgr


def main() -> None:
    folder = Path(os.environ["ROUTING_DATA"])
    rows = training_set(read_rows([folder / f"{n}.jsonl.gz" for n in ("outcomes", "prompts")]))
    choices = [Choice(*values) for values in product(OUTSIDE, RIDGES, WORDS, CAPS, NEEDS)]
    found = precisions(rows, choices)
    good = [choice for choice in choices if np.mean(found[choice]) >= LEAST_PRECISION]
    table = nested(rows, good)
    notes = (
        f"{len(choices)} choices, {len(good)} of them with a mean precision of "
        f"{LEAST_PRECISION} among the top 3 %. `over_length`: APGR above prompt length's on the "
        "source, by the choice that was best on the others; 95 % interval over the same draws of "
        "queries, of the mean by its parts. `shipped`: by the shipped settings. `best_afterwards`: "
        "the most that any choice has on the source. `precision_shipped`: of eight pairs of "
        f"sources, {', '.join(f'{x:.3f}' for x in found[SHIPPED])}. Command: `ROUTING_DATA=DIR "
        "make bench-routing_selection`."
    )
    report.write("routing_selection", table, title="Settings chosen without a source", notes=notes)


def precisions(rows: TrainingSet, choices: list[Choice]) -> dict[Choice, list[float]]:
    """Precision among the top 3 % of the stated mix, of each pair of tiers' sources."""
    data, is_read = rows.data, np.arange(len(rows.data)) < rows.read
    tiers = [np.unique(data.source[is_read & (data.tier == tier)]) for tier in ("easy", "complex")]
    found: dict[Choice, list[float]] = {choice: [] for choice in choices}
    for pair in product(*tiers):
        hold = rows.source(*map(str, pair))
        part, inside = scored(rows, map(str, pair)), is_read[hold]
        mix = part.data.take(inside)
        for choice in choices:
            found[choice].append(evaluate.mix_precision(part.score(choice, inside), mix))
    return found


def nested(rows: TrainingSet, choices: list[Choice]) -> list[dict[str, Any]]:
    """One row a source, and their mean."""
    sources = [str(source) for source in np.unique(rows.data.source[rows.data.measured])]
    pairs = {frozenset(pair): scored(rows, pair) for pair in combinations(sources, 2)}
    table = []
    for source in sources:
        others = [(pairs[frozenset((source, o))], o) for o in sources if o != source]
        inner = [np.mean([held.over_length(c, o) for held, o in others]) for c in choices]
        best, held = choices[int(np.argmax(inner))], scored(rows, [source])
        inside = held.data.measured
        length, gain = evaluate.by_length(held.data.take(inside)), held.data.gain[inside]
        chosen = evaluate.over_length(held.score(best, inside), length, gain)
        afterwards = {choice: held.over_length(choice, source) for choice in choices}
        told = {"shipped": afterwards[SHIPPED], "best_afterwards": max(afterwards.values())}
        table.append({"source": source, **best._asdict(), **chosen, **told})
    mean: dict[str, Any] = {"source": "mean"} | {
        name: float(np.mean([row[name] for row in table]))
        for name in ("over_length", "shipped", "best_afterwards")
    }
    for end, sign in (("over_length_low", -1), ("over_length_high", 1)):
        away = np.array([row[end] - row["over_length"] for row in table])
        mean[end] = mean["over_length"] + sign * float(np.sqrt((away**2).sum())) / len(table)
    return [*table, mean]


def scored(rows: TrainingSet, sources: Iterable[str]) -> Held:
    """The rows of `sources`, by a model that saw none of them."""
    hold = rows.source(*sources)
    model, corpus = rows.fit_without(hold), rows.corpus.take(hold)
    heads = model.heads(corpus)
    words = heads[:, NEED] - model.of_surface(corpus)
    surface = {}
    for outside, ridge in product(OUTSIDE, RIDGES):
        model.settings = replace(rows.settings, outside=outside, ridge_surface=ridge)
        model.fit_surface(rows.corpus.take(~hold), rows.data.take(~hold))
        surface[outside, ridge] = model.of_surface(corpus)
    return Held(rows.data.take(hold), heads[:, KIND], words, surface)


if __name__ == "__main__":
    main()
