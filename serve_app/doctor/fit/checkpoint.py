"""A lane's checkpoint as far as it is on this machine: its config.json and its tokenizer."""

from __future__ import annotations

from pathlib import Path

from fleet.memory import models
from fleet.memory.shape import ModelShape
from serve_app.config.lane import EMBEDDED, EMBEDDED_ENCODER, LaneConfig
from serve_app.config.settings import own_path
from serve_app.engine.embedded_model import cache_dir, encoder_dir


def find_file(lane: LaneConfig, name: str) -> Path | None:
    """Return a file of the lane's checkpoint, where it is here; nothing is fetched."""
    return models.find_file(_source(lane), name, lane.revision)


def is_here(lane: LaneConfig) -> bool:
    """Return whether the lane's weights need no download."""
    names = ("model.safetensors", "model.safetensors.index.json", "consolidated.safetensors")
    return any(find_file(lane, name) is not None for name in names)


def shape_of_lane(lane: LaneConfig) -> tuple[ModelShape, str]:
    """Return the sizes of the lane's model, and where they are from.

    Raises:
        NotReckoned: as `find_shape`.

    """
    return models.find_shape(_source(lane), lane.revision)


def _source(lane: LaneConfig) -> str:
    if lane.model_source == EMBEDDED:
        return str(cache_dir() / "smollm2-135m-instruct-float32")
    if lane.model_source == EMBEDDED_ENCODER:
        return str(encoder_dir())
    return own_path(lane.model_source)
