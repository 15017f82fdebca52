"""`train`: from rows to an artefact, the same bytes each time."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from classifier.artifact import COMPILED, Artifact
from classifier.heads import Floats, Priors
from classifier.training.calibrate import expected_error, fit_knots
from classifier.training.corpus import read_corpus
from classifier.training.dataset import Dataset, from_rows, joined_easy
from classifier.training.fold import fold_tables, fold_weights
from classifier.training.held_out import TrainingSet, heads_when_held_out, source_parts
from classifier.training.metrics import weighted_quantile
from classifier.training.model import ComplexityModel, Settings, combine
from classifier.training.teacher import teacher_tokenizer
from classifier.training.written import written_rows

VERSION = "lexical-v4"
JOINED_PER_SOURCE = 2500
WRITTEN = 3000
# The stated mix: 97 % everyday support and chat, 3 % complex.
COMPLEX_SHARE = 0.03
GRID = 1001
SEED = 0


def training_set(
    data: Dataset,
    settings: Settings | None = None,
    *,
    joined: int = JOINED_PER_SOURCE,
    written: int = WRITTEN,
) -> TrainingSet:
    """Rows and their matrices."""
    ours = from_rows(written_rows(written, np.random.default_rng(SEED)))
    longer = joined_easy(data.joined(ours), joined, np.random.default_rng(SEED))
    everything = data.joined(ours).joined(longer)
    with threadpool_limits(1):
        corpus = read_corpus(list(everything.text))
    return TrainingSet(
        data=everything,
        corpus=corpus,
        read=len(data),
        tokenizer=teacher_tokenizer(),
        settings=settings or Settings(),
    )


def train(rows: TrainingSet, training: dict[str, Any], version: str = VERSION) -> Artifact:
    """Fit on everything, calibrate on held-out scores, fold."""
    heads = heads_when_held_out(rows, source_parts(rows))
    raw = {source: combine(values) for source, values in heads.items()}
    knots = fit_knots(*calibration_rows(rows, raw))
    model = rows.fit_without(np.zeros(len(rows.data), dtype=bool))
    note = {**training, **calibration_figures(rows, raw)}
    return fold(model, rows, knots, note, version)


def fold(
    model: ComplexityModel,
    rows: TrainingSet,
    knots: tuple[Floats, Floats],
    training: dict[str, Any],
    version: str = VERSION,
) -> Artifact:
    with threadpool_limits(1):
        scores = np.interp(model.raw(rows.corpus), *knots)
    return Artifact(
        version=version,
        kind=COMPILED,
        weights=fold_weights(model, knots),
        priors=Priors(),
        quantiles=mix_quantiles(rows.data, scores),
        training=training,
        tables=fold_tables(model),
        tokenizer=rows.tokenizer.to_str(),
    )


def calibration_rows(
    rows: TrainingSet, raw: Mapping[str, Floats], without: str = ""
) -> tuple[Floats, Floats, Floats]:
    """Held-out raw scores, outcomes and weights; each row weighs the same.

    The event is that the strong model succeeds where the weak one fails: gain, cut to
    [0, 1]. Everyday rows count as 0, which is an assumption: nobody measured them.
    """
    parts = []
    for source, scores in raw.items():
        inside = rows.data.take(rows.source(source))
        known = inside.measured | (inside.tier == "easy")
        if source == without or not known.any():
            continue
        outcome = np.where(inside.measured, np.clip(np.nan_to_num(inside.gain), 0, 1), 0.0)
        parts.append((scores[known], outcome[known], np.ones(known.sum())))
    columns = zip(*parts, strict=True)
    score, outcome, weight = (np.concatenate(column) for column in columns)
    return score, outcome, weight


def calibration_figures(rows: TrainingSet, raw: Mapping[str, Floats]) -> dict[str, Any]:
    """ECE on each measured source, calibrated on the other sources alone."""
    errors, pooled = {}, []
    for source, scores in raw.items():
        inside = rows.data.take(rows.source(source))
        if not inside.measured.any():
            continue
        knots = fit_knots(*calibration_rows(rows, raw, without=source))
        probability = np.interp(scores, *knots)[inside.measured]
        outcome = np.clip(inside.gain[inside.measured], 0, 1)
        errors[source] = round(expected_error(probability, outcome), 4)
        pooled.append((probability, outcome))
    together = [np.concatenate(column) for column in zip(*pooled, strict=True)]
    return {"ece_by_held_out_source": errors, "ece_pooled": round(expected_error(*together), 4)}


def mix_quantiles(data: Dataset, scores: Floats) -> tuple[float, ...]:
    """Score quantiles of the stated mix: rows with a tier, 97 % easy and 3 % complex."""
    mask = np.isin(data.tier, ("easy", "complex"))
    is_complex = data.tier[mask] == "complex"
    if not is_complex.any() or is_complex.all():
        message = "the threshold needs rows of both tiers, 'easy' and 'complex'"
        raise ValueError(message)
    part = np.where(is_complex, COMPLEX_SHARE, 1.0 - COMPLEX_SHARE)
    weight = part / np.where(is_complex, is_complex.sum(), (~is_complex).sum())
    quantiles = weighted_quantile(scores[mask], weight, np.linspace(0.0, 1.0, GRID))
    return tuple(np.round(quantiles, 6).tolist())
