"""The recorded run of an RTX 4090, and the simulated engine put through the same requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.support.kernel_times import RUN
from simulator.model import engine
from simulator.model.profile import Profile

FITTED = 100
"""So many of the first requests may be fitted to; the others judge."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request; seconds since the first arrived.

    Attributes:
        at: when it arrived.
        first_at: when its first token came.
        last_at: when its last token came.

    """

    at: float
    prompt_tokens: int
    output_tokens: int
    first_at: float
    last_at: float


FIGURES: dict[str, Callable[[Outcome], float]] = {
    "TTFT": lambda one: one.first_at - one.at,
    "TPOT": lambda one: (one.last_at - one.first_at) / (one.output_tokens - 1),
    "latency": lambda one: one.last_at - one.at,
}
STATISTICS: dict[str, Callable[[np.ndarray], np.floating]] = {
    "mean": np.mean,
    "p50": lambda values: np.percentile(values, 50),
    "p90": lambda values: np.percentile(values, 90),
    "p95": lambda values: np.percentile(values, 95),
    "p99": lambda values: np.percentile(values, 99),
}


def recorded() -> list[Outcome]:
    """The run's requests, in the order of arrival."""
    rows = [json.loads(line) for line in (RUN / "requests.jsonl").read_text().splitlines()]
    rows.sort(key=lambda row: row["arrival_time"])
    # Arrivals are by the wall clock; a request is queued within a millisecond at best.
    apart = min(row["queued_ts"] - row["arrival_time"] for row in rows[:FITTED])
    begun = rows[0]["arrival_time"] + apart
    return [
        Outcome(
            row["arrival_time"] + apart - begun,
            row["input_toks"],
            row["output_toks"],
            row["first_token_ts"] - begun,
            row["last_token_ts"] - begun,
        )
        for row in rows
    ]


def warm_up_s() -> float:
    """How long the engine's first step kept it from taking in the second request."""
    rows = [json.loads(line) for line in (RUN / "requests.jsonl").read_text().splitlines()[:2]]
    return float(rows[1]["queued_ts"] - rows[0]["scheduled_ts"])


def simulated(profile: Profile, run: Sequence[Outcome]) -> list[Outcome]:
    """What the simulated engine makes of the same arrivals and lengths; no prefix is shared."""
    model = engine.BatchingEngine(profile.timing, profile.scheduling)
    sequences = []
    for number, one in enumerate(run):
        while model.next_at is not None and model.next_at <= one.at:
            model.advance()
        keys = (number << 32).__add__
        sequences.append(engine.Sequence(one.prompt_tokens, one.output_tokens, keys))
        model.add(sequences[-1], one.at)
    while model.next_at is not None:
        model.advance()
    return [
        Outcome(one.at, one.prompt_tokens, one.output_tokens, first_at, finished_at)
        for one, sequence in zip(run, sequences, strict=True)
        if (first_at := sequence.first_token_at) is not None
        and (finished_at := sequence.finished_at) is not None
    ]


def figures(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Mean and percentiles of TTFT, TPOT and latency, in seconds."""
    return {
        f"{name} {statistic}": float(of(np.array([figure(one) for one in outcomes])))
        for name, figure in FIGURES.items()
        for statistic, of in STATISTICS.items()
    }


def errors(seen: Sequence[Outcome], truth: Sequence[Outcome]) -> dict[str, float]:
    """By how much of the truth each figure is off."""
    expected = figures(truth)
    return {name: value / expected[name] - 1 for name, value in figures(seen).items()}
