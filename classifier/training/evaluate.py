"""Figures of a classifier: by held-out part, on the stated mix, and its cost.

Every row says who scored (`by`) what (`part`); baselines stand beside the
classifier: the length of the prompt, and MiniLM's embedding with a logistic
regression on the same labels.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from threadpoolctl import threadpool_limits

from classifier.features.conversation import Conversation
from classifier.heads import Floats
from classifier.scorer import Scorer
from classifier.training.build import COMPLEX_SHARE
from classifier.training.dataset import Dataset, Mask
from classifier.training.held_out import TrainingSet, heads_when_held_out, source_parts
from classifier.training.metrics import (
    apgr_interval,
    binned_metrics,
    exact_metrics,
    precision_at_share,
)
from classifier.training.model import combine

CLASSIFIER, MINILM, LENGTH = "classifier", "MiniLM + LR", "prompt length"
SUBJECT_FOLDS = 5


def by_length(data: Dataset) -> Floats:
    """The baseline to beat: longer prompts are more complex."""
    return np.array([float(len(text)) for text in data.text])


def on_sources(data: Dataset, scores: Floats, name: str = CLASSIFIER) -> list[dict[str, Any]]:
    """Each measured source by given scores, beside prompt length."""
    rows = []
    for source in np.unique(data.source[data.measured]):
        inside = data.measured & (data.source == source)
        rows.append(figures(str(source), name, scores[inside], data.gain[inside]))
        rows.append(figures(str(source), LENGTH, by_length(data.take(inside)), data.gain[inside]))
    return rows


@dataclass(frozen=True)
class Part:
    """Rows that are held out together, and the name they are reported under."""

    group: str
    hold: Mask


def held_out_parts(rows: TrainingSet) -> list[Part]:
    """What is held out in turn.

    Each measured source; of the one with the most subjects the two halves of its
    questions, and its subjects in five groups.
    """
    data = rows.data
    sources = {k: v for k, v in source_parts(rows).items() if data.measured[v].any()}
    parts = [Part(source, hold) for source, hold in sources.items()]
    subjects = {source: len(set(data.domain[hold])) for source, hold in sources.items()}
    main = max(subjects, key=lambda source: subjects[source], default="")
    if subjects.get(main, 0) < SUBJECT_FOLDS:
        return parts
    places = np.flatnonzero(sources[main])
    halves = np.array_split(np.random.default_rng(0).permutation(places), 2)
    parts += [Part(f"{main}, other half of the questions", _mask(data, x)) for x in halves]
    folds = GroupKFold(SUBJECT_FOLDS).split(places, groups=data.domain[places])
    return parts + [Part(f"{main}, subjects never seen", _mask(data, places[x])) for _, x in folds]


def held_out(rows: TrainingSet, embeddings: Floats | None = None) -> list[dict[str, Any]]:
    """Every part scored by a model that never saw it, beside prompt length.

    With MiniLM's `embeddings` of the rows that were read, also beside that baseline.
    """
    parts = held_out_parts(rows)
    heads = heads_when_held_out(rows, {str(n): part.hold for n, part in enumerate(parts)})
    scores = [combine(heads[str(number)]) for number in range(len(parts))]
    scored = {CLASSIFIER: scores}
    if embeddings is not None:
        scored[MINILM] = [minilm_baseline(rows, embeddings, part.hold) for part in parts]
    out = []
    for group in dict.fromkeys(part.group for part in parts):
        by = {name: _gather(parts, values, group) for name, values in scored.items()}
        hold = ~np.isnan(by[CLASSIFIER]) & rows.data.measured
        gain = rows.data.gain[hold]
        length = by_length(rows.data.take(hold))
        for name, values in by.items():
            over = over_length(values[hold], length, gain)
            out.append({**figures(group, name, values[hold], gain), **over})
        out.append(figures(group, LENGTH, length, gain))
    return out


def minilm_baseline(rows: TrainingSet, embeddings: Floats, hold: Mask) -> Floats:
    """Scores of the held rows by MiniLM + logistic regression of 'strong beats weak'."""
    first = np.arange(len(rows.data)) < rows.read
    train = first & ~hold & rows.data.measured
    with threadpool_limits(1):
        model = LogisticRegression(C=1.0, max_iter=1000)
        model.fit(embeddings[np.flatnonzero(train)], rows.data.gain[train] > 0)
        scores: Floats = model.decision_function(embeddings[np.flatnonzero(hold & first)])
    return scores


def top_precision(rows: TrainingSet) -> list[dict[str, Any]]:
    """Precision among the top 3 % of the stated mix.

    One everyday source and one complex source are held out together, so that the
    model has seen neither side of the mix.
    """
    data = rows.data
    is_made = np.arange(len(data)) >= rows.read
    sources = {
        tier: [str(s) for s in np.unique(data.source[(data.tier == tier) & ~is_made])]
        for tier in ("easy", "complex")
    }
    pairs = {
        (easy, hard): rows.source(easy, hard)
        for easy in sources["easy"]
        for hard in sources["complex"]
    }
    heads = heads_when_held_out(rows, {f"{e} {h}": hold for (e, h), hold in pairs.items()})
    out = []
    for (easy, hard), hold in pairs.items():
        real = ~is_made[hold]
        inside = data.take(hold & ~is_made)
        scores = combine(heads[f"{easy} {hard}"])[real]
        out.append(
            {
                "everyday": easy,
                "complex": hard,
                **{
                    f"precision, {name}": mix_precision(by, inside)
                    for name, by in ((CLASSIFIER, scores), (LENGTH, by_length(inside)))
                },
            }
        )
    return out


def mix_precision(scores: Floats, data: Dataset) -> float:
    """Complex rows among the top 3 % of 97 % easy and 3 % complex."""
    is_complex = data.tier == "complex"
    part = np.where(is_complex, COMPLEX_SHARE, 1.0 - COMPLEX_SHARE)
    weight = part / np.where(is_complex, is_complex.sum(), (~is_complex).sum())
    return precision_at_share(scores, is_complex, weight, COMPLEX_SHARE)


def latency(scorer: Scorer, texts: Mapping[int, list[str]]) -> list[dict[str, float]]:
    """Milliseconds of one decision, on one core, by prompt tokens.

    The scorer has just been loaded; `texts` has distinct texts by their length in tokens.
    """
    rows = []
    for tokens, group in texts.items():
        spent = []
        for text in group:
            conversation = Conversation(last_user=text)
            begun = time.perf_counter()
            scorer.score(conversation)
            spent.append(1e3 * (time.perf_counter() - begun))
        p50, p99 = np.quantile(spent, [0.5, 0.99])
        rows.append({"tokens": tokens, "p50_ms": float(p50), "p99_ms": float(p99)})
    return rows


def _gather(parts: Sequence[Part], scores: Sequence[Floats], group: str) -> Floats:
    """Scores of a group's rows, each by the model that did not see it; NaN elsewhere."""
    gathered = np.full(len(parts[0].hold), np.nan)
    for part, values in zip(parts, scores, strict=True):
        if part.group == group:
            gathered[part.hold] = values
    return gathered


def _mask(data: Dataset, places: Any) -> Mask:
    mask = np.zeros(len(data), dtype=bool)
    mask[places] = True
    return mask


def over_length(scores: Floats, length: Floats, gain: Floats) -> dict[str, float]:
    """APGR above that of prompt length, with its interval over the same draws of queries."""
    difference = exact_metrics(scores, gain).apgr - exact_metrics(length, gain).apgr
    low, high = apgr_interval(scores, gain, np.random.default_rng(0), beside=length)
    return {"over_length": difference, "over_length_low": low, "over_length_high": high}


def figures(part: str, name: str, scores: Floats, gain: Floats) -> dict[str, Any]:
    """One row: who scored what, and RouteLLM's metrics in both forms."""
    exact, binned = exact_metrics(scores, gain), binned_metrics(scores, gain)
    low, high = apgr_interval(scores, gain, np.random.default_rng(0))
    return {
        "part": part,
        "by": name,
        "rows": len(gain),
        "apgr": exact.apgr,
        "apgr_low": low,
        "apgr_high": high,
        "cpt50": exact.cpt50,
        "cpt80": exact.cpt80,
        "apgr_10_bins": binned.apgr,
        "cpt50_10_bins": binned.cpt50,
        "cpt80_10_bins": binned.cpt80,
    }
