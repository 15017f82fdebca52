"""Figures of a classifier: by held-out source, on the stated mix, and its cost."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from classifier.conversation import Conversation
from classifier.dataset import Dataset, Floats
from classifier.features import FEATURE_NAMES
from classifier.metrics import (
    apgr_interval,
    binned_metrics,
    exact_metrics,
    precision_at_share,
)
from classifier.scorer import Scorer

Predict = Callable[[Floats], Floats]
LENGTH = FEATURE_NAMES.index("log_chars")


def by_length(features: Floats) -> Floats:
    """The baseline to beat: longer prompts are more complex."""
    lengths: Floats = features[:, LENGTH]
    return lengths


def held_out(
    data: Dataset, fit: Callable[[Dataset], Predict], name: str = "classifier"
) -> list[dict[str, Any]]:
    """Leave-one-source-out: each source scored by a model that never saw it."""
    rows = []
    for source in _measured_sources(data):
        inside = (data.source == source) & ~np.isnan(data.gain)
        model = fit(data.take(data.source != source))
        rows.append(_row(source, name, model, data.take(inside)))
        if name == "classifier":
            rows.append(_row(source, "prompt length", by_length, data.take(inside)))
    return rows


def on_data(data: Dataset, model: Predict) -> list[dict[str, Any]]:
    """Each source scored by one model, which may have been trained on it."""
    rows = []
    for source in _measured_sources(data):
        inside = data.take((data.source == source) & ~np.isnan(data.gain))
        rows += [
            _row(source, "classifier", model, inside),
            _row(source, "prompt length", by_length, inside),
        ]
    return rows


def top_precision(data: Dataset, fit: Callable[[Dataset], Predict]) -> list[dict[str, Any]]:
    """Precision among the top 3 % of the stated mix, each complex source held out."""
    from classifier.train import COMPLEX_SHARE, production_mix

    rows = []
    for source in np.unique(data.source[data.tier == "complex"]):
        others = (data.tier == "complex") & (data.source != source)
        model = fit(data.take(data.source != source))
        mix, weight = production_mix(data.take(~others))
        is_complex = mix.tier == "complex"
        rows.append(
            {
                "held_out": str(source),
                **{
                    name: precision_at_share(score(mix.features), is_complex, weight, COMPLEX_SHARE)
                    for name, score in (("classifier", model), ("prompt length", by_length))
                },
            }
        )
    return rows


def latency(scorer: Scorer, calls: int = 3000) -> list[dict[str, float]]:
    """Seconds of one decision by prompt length, features included, on one core."""
    rows = []
    for tokens in (20, 100, 1000, 8000):
        words = ("please", "compare", "the", "two", "plans,", "then", "say", "which", "is", "best")
        text = " ".join(words[i % len(words)] for i in range(tokens))
        spent = []
        for number in range(calls):
            conversation = Conversation(last_user=f"{number} {text}")
            begun = time.perf_counter()
            scorer.score(conversation)
            spent.append(time.perf_counter() - begun)
        p50, p99 = np.quantile(spent, [0.5, 0.99])
        rows.append({"tokens": tokens, "p50_ms": 1e3 * float(p50), "p99_ms": 1e3 * float(p99)})
    return rows


def _measured_sources(data: Dataset) -> list[str]:
    return [str(s) for s in np.unique(data.source[~np.isnan(data.gain)])]


def _row(source: str, name: str, score: Predict, data: Dataset) -> dict[str, Any]:
    scores = score(data.features)
    exact, binned = exact_metrics(scores, data.gain), binned_metrics(scores, data.gain)
    low, high = apgr_interval(scores, data.gain, np.random.default_rng(0))
    return {
        "source": source,
        "by": name,
        "rows": len(data.gain),
        "apgr": exact.apgr,
        "apgr_low": low,
        "apgr_high": high,
        "cpt50": exact.cpt50,
        "cpt80": exact.cpt80,
        "apgr_10_bins": binned.apgr,
        "cpt50_10_bins": binned.cpt50,
        "cpt80_10_bins": binned.cpt80,
    }
