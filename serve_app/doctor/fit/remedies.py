"""What to change in the fleet file so that a lane fits its card."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

from fleet.memory.shape import ModelShape
from serve_app.config.lane import LaneConfig
from serve_app.doctor.fit.reckoning import Fit, reckon

STEP = 1024
"""A shorter window is proposed in whole thousands of tokens."""
LEAST_WINDOW = 2048
SAFE_UTILIZATION = 0.92
"""The documents' setting: 0.97 leaves nothing for bursts."""


def remedy(name: str, lane: LaneConfig, shape: ModelShape, card_bytes: int, *, fp8: bool) -> str:
    """The changed lines of the fleet file with which the lane fits, the mildest first.

    `fp8`: whether the card has FP8 tensor cores. A sentence where nothing here is enough.
    """
    for lines in _candidates(lane, shape, card_bytes, fp8=fp8):
        if reckon(_changed(lane, lines), shape, card_bytes).fits:
            return ", ".join(f"lanes.{name}.{place(key)}: {value}" for key, value in lines.items())
    return (
        "no change of this lane is enough: a smaller model, a 4-bit checkpoint of it (AWQ), or "
        "cards with more memory"
    )


def place(key: str) -> str:
    """Where a setting of a lane stands in the fleet file."""
    return key if key == "max_model_len" else f"engine_args.{key}"


def _candidates(
    lane: LaneConfig, shape: ModelShape, card_bytes: int, *, fp8: bool
) -> Iterator[dict[str, Any]]:
    args = lane.engine_args
    milder: dict[str, Any] = {}
    if args.get("gpu_memory_utilization", SAFE_UTILIZATION) < SAFE_UTILIZATION:
        yield {"gpu_memory_utilization": SAFE_UTILIZATION}
        milder["gpu_memory_utilization"] = SAFE_UTILIZATION
    if fp8 and str(args.get("kv_cache_dtype", "auto")) == "auto":
        yield {"kv_cache_dtype": "fp8"}
        milder["kv_cache_dtype"] = "fp8"
    window = _window(reckon(_changed(lane, milder), shape, card_bytes))
    if window is not None:
        yield {**milder, "max_model_len": window}
    if shape.weight_bits is None and not args.get("quantization"):
        yield {**milder, "quantization": "fp8"}
        milder["quantization"] = "fp8"
    for cards in (2, 4, 8):
        if cards > lane.tensor_parallel_size and shape.heads % cards == 0:
            yield {**milder, "tensor_parallel_size": cards}


def _window(fit: Fit) -> int | None:
    """The longest window that fits, in whole thousands; None: none worth having."""
    windows = range(LEAST_WINDOW, fit.window, STEP)
    first_too_long = bisect_left(windows, True, key=lambda x: not fit.memory.has_room_for(x))
    return windows[first_too_long - 1] if first_too_long else None


def _changed(lane: LaneConfig, lines: dict[str, Any]) -> LaneConfig:
    args = {key: value for key, value in lines.items() if key != "max_model_len"}
    update: dict[str, Any] = {"engine_args": {**lane.engine_args, **args}}
    if "max_model_len" in lines:
        update["max_model_len"] = lines["max_model_len"]
    return lane.model_copy(update=update)
