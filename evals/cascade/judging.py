"""Rows with signals and outcomes to figures: whether the weak lane's signals say more than prompts.

Rows are those of `pointsman classifier label --signals`. What is known before a lane is asked is
the baseline: the classifier's score, and the length of the conversation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log
from typing import Any

import numpy as np

from classifier.features.conversation import conversation_of
from classifier.scorer import Scorer
from evals.cascade.deferral import (
    DRAWS,
    SHARES,
    Array,
    Comparison,
    Interval,
    Judged,
    area,
    auc,
    beats,
    compared,
    held_out,
    interval,
    quality,
    resampled,
    within,
)
from evals.cascade.signals import HELD_TOKENS, SIGNALS, TOKEN_SIGNALS, recorded

PROMPT = ("score", "log_length")
BASELINE = "prompt"
PREDICTORS: dict[str, tuple[str, ...]] = {
    BASELINE: PROMPT,
    "first margin": ("first_margin",),
    "mean log-probability": ("mean_logprob",),
    "signals": TOKEN_SIGNALS,
    "both": (*PROMPT, *TOKEN_SIGNALS),
    "all": (*PROMPT, *SIGNALS),
}
"""Features of each predictor, as far as they were recorded. The second and the third are the rules
of arXiv 2405.02134 and of Chow-Average (2404.10136). `all` has what no stream could be held
for: vLLM tells a prompt's log-probabilities only with a whole answer, and reads the whole prompt
for them, whatever its cache has; and two drafts are two more answers."""

DECIDING = "both"
"""By which it is said whether signals beat the prompt: the best of several would too easily."""

RELAYED = "mean log-probability"
"""By which a deployment moves requests: one number of tokens that need no alternatives."""

PARTS = 5
MIN_ROWS = 50


def judged(rows: Sequence[Mapping[str, Any]], scorer: Scorer, held: int = HELD_TOKENS) -> Judged:
    """Read rows that have signals; a source is the rows' `domain`, or where none has one `source`.

    Rows of one source alone are dealt into `PARTS` parts, which stand for sources: then nothing
    is said of kinds of requests that are not among them.

    Raises:
        ValueError: too few rows have `weak` and `signals`.

    """
    known = [row for row in rows if "signals" in row and row.get("weak") is not None]
    if len(known) < MIN_ROWS:
        raise ValueError(f"{len(known)} rows have 'weak' and 'signals': {MIN_ROWS} are needed")
    found = [recorded(row["signals"], held) for row in known]
    features = {name: _column(found, name) for name in SIGNALS}
    features["score"] = np.array([scorer.score(conversation_of(dict(row))) for row in known])
    features["log_length"] = np.array([log(1 + _length(row)) for row in known])
    strong = [row.get("strong") for row in known]
    return Judged(
        _sources(known),
        np.array([float(row["weak"]) for row in known]),
        np.array([1.0 if one is None else float(one) for one in strong]),
        features,
    )


@dataclass(frozen=True)
class Figures:
    """One predictor on sources that it was not fitted on.

    Attributes:
        auc: over all rows; `within`: mean of the AUC inside each source.
        area: of the deferral curve, APGR.
        quality: by share that moves.
        beside: how it compares with the prompt's predictor; None for that one.

    """

    name: str
    auc: Interval
    within: Interval
    area: Interval
    quality: Mapping[float, float]
    beside: Comparison | None

    @property
    def beats(self) -> bool:
        """Whether the rule of `evals.cascade.deferral` would have it switched on."""
        return self.beside is not None and beats(self.beside)


def figures(rows: Judged, rng: np.random.Generator, draws: int = DRAWS) -> list[Figures]:
    """Judge every predictor whose features were recorded; intervals of one set of samples."""
    samples = resampled(rows, rng, draws)
    scores = {name: held_out(rows, features) for name, features in _known(rows).items()}
    return [_judge(name, scores, rows, samples) for name in scores]


def is_better(found: Sequence[Figures], name: str = DECIDING) -> bool:
    """Whether signals beat the prompt: what a second stage would go by does."""
    return next(one.beats for one in found if one.name == name)


def _judge(
    name: str, scores: Mapping[str, Array], rows: Judged, samples: Sequence[Array]
) -> Figures:
    mine, failed = scores[name], rows.failed
    outcomes = replace(rows, features={})
    parts = [outcomes.take(at) for at in samples]
    drawn = [mine[at] for at in samples]
    return Figures(
        name,
        interval(auc(mine, failed), [auc(s, p.failed) for s, p in zip(drawn, parts, strict=True)]),
        interval(within(mine, rows), [within(s, p) for s, p in zip(drawn, parts, strict=True)]),
        interval(area(mine, rows), [area(s, p) for s, p in zip(drawn, parts, strict=True)]),
        {share: quality(mine, rows, share) for share in (0.0, *SHARES, 1.0)},
        None if name == BASELINE else compared(mine, scores[BASELINE], rows, samples),
    )


def _known(rows: Judged) -> dict[str, tuple[str, ...]]:
    """Predictors without the features that no row has."""
    there = {name for name, values in rows.features.items() if not np.isnan(values).all()}
    found: dict[str, tuple[str, ...]] = {}
    for name, features in PREDICTORS.items():
        kept = tuple(one for one in features if one in there)
        if kept not in found.values():
            found[name] = kept
    return found


def _column(found: Sequence[Mapping[str, float]], name: str) -> Array:
    return np.array([one.get(name, np.nan) for one in found])


def _sources(rows: Sequence[Mapping[str, Any]]) -> Array:
    for name in ("domain", "source"):
        found = np.array([str(row.get(name) or "none") for row in rows])
        if len(np.unique(found)) > 1:
            return found
    return np.array([f"part {place % PARTS}" for place in range(len(rows))])


def _length(row: Mapping[str, Any]) -> int:
    """Characters of the conversation."""
    messages = row.get("messages")
    if messages is None:
        return len(row["text"])
    return sum(len(str(message.get("content") or "")) for message in messages)
