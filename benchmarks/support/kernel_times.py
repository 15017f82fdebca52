"""A step's cost fitted to the recorded kernel times of an RTX 4090."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from simulator.model.step_cost import StepCost, interpolated

RUN = Path(__file__).parents[1] / "data" / "rtx4090_run"

LAYERS = 32
KV_TOKENS = 41_408
"""What fits into the card's KV cache: kernels of larger steps are left out of the fit."""

TOLERANCE = 0.02
"""How far a point that is left out of `linear_ms` may lie from the line between its neighbours."""


def kernel_cost() -> StepCost:
    """The sum of a step's kernels, by least squares of relative errors."""
    start_us, sequence_us, context_us = _decode_attention()
    head_us, head_sequence_us = _head()
    pair_us, mixed_context_us = _mixed_attention()
    return StepCost(
        linear_ms=_linear_ms(),
        sequence_us=round(LAYERS * sequence_us + head_sequence_us, 2),
        prefill_pair_ns=round(LAYERS * pair_us * 1e3, 3),
        context_ns=round(LAYERS * context_us * 1e3, 1),
        mixed_context_ns=round(LAYERS * mixed_context_us * 1e3, 1),
        fixed_ms=round((head_us + LAYERS * start_us) / 1e3, 3),
    )


def _rows(name: str) -> Iterator[dict[str, str]]:
    with (RUN / name).open() as file:
        yield from csv.DictReader(file)


def _linear_ms() -> dict[int, float]:
    """Time of everything that goes by tokens, made to rise and thinned to `TOLERANCE`."""
    times = {"layernorm": 2 * LAYERS, "embedding": 1, "final_layernorm": 1}
    total: dict[int, float] = {}
    for row in _rows("dense.csv"):
        took = times.get(row["layer"], LAYERS) * float(row["time_us"]) / 1e3
        total[int(row["tokens"])] = total.get(int(row["tokens"]), 0.0) + took
    tokens = sorted(total)
    highest = np.maximum.accumulate([total[at] for at in tokens])
    rising = {at: round(float(ms), 3) for at, ms in zip(tokens, highest, strict=True)}
    kept = [0]
    while kept[-1] < len(tokens) - 1:
        reach = range(len(tokens) - 1, kept[-1], -1)
        kept.append(next(end for end in reach if _is_straight(rising, tokens[kept[-1] : end + 1])))
    return {tokens[index]: rising[tokens[index]] for index in kept}


def _is_straight(times: dict[int, float], tokens: list[int]) -> bool:
    ends = {at: times[at] for at in (tokens[0], tokens[-1])}
    return all(abs(interpolated(ends, at) / times[at] - 1) <= TOLERANCE for at in tokens[1:-1])


def _attention() -> np.ndarray:
    """Rows of chunk, its KV, sequences, their KV and time; those that fit, of some length."""
    rows = np.array([[float(value) for value in row.values()] for row in _rows("attention.csv")])
    chunk, before, sequences, each = rows.T[:4]
    fits = chunk + before + sequences * each <= KV_TOKENS
    kept: np.ndarray = rows[fits & (sequences >= 8) & (each >= 128)]
    return kept


def _decode_attention() -> tuple[float, float, float]:
    """Microseconds to start it, for each sequence and for each context token."""
    rows = _attention()
    _, _, sequences, each, took = rows[rows[:, 0] == 0].T
    start, sequence, context = _least_squares(
        [np.ones_like(took), sequences, sequences * each], took
    )
    return start, sequence, context


def _mixed_attention() -> tuple[float, float]:
    """Microseconds for each pair of the prefill and for each context token beside it."""
    rows = _attention()
    chunk, before, sequences, each, took = rows[(rows[:, 0] > 0) & (rows[:, 1] <= 8192)].T
    pairs = chunk * (before + (chunk + 1) / 2)
    terms = [np.ones_like(took), chunk, pairs, sequences, sequences * each]
    _, _, pair, _, context = _least_squares(terms, took)
    return pair, context


def _head() -> tuple[float, float]:
    """Microseconds of head and sampler: once, and for each sequence up to 64."""
    total: dict[int, float] = {}
    for row in _rows("per_sequence.csv"):
        at = int(row["sequences"])
        total[at] = total.get(at, 0.0) + float(row["time_us"])
    measured = [sequences for sequences in total if sequences <= 64]
    slope, once = np.polyfit(measured, [total[sequences] for sequences in measured], 1)
    return float(once), float(slope)


def _least_squares(terms: list[np.ndarray], took: np.ndarray) -> list[float]:
    relative = np.column_stack(terms) / took[:, None]
    found = np.linalg.lstsq(relative, np.ones_like(took), rcond=None)[0]
    return [float(value) for value in found]
