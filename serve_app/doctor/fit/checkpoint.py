"""A lane's checkpoint as far as it is on this machine: its config.json and its tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serve_app.config.lane import EMBEDDED, EMBEDDED_ENCODER, LaneConfig
from serve_app.doctor.fit.known_models import KNOWN_MODELS
from serve_app.doctor.fit.shape import ModelShape, NotReckoned, shape_of
from serve_app.engine.embedded_model import cache_dir, encoder_dir


def find_file(lane: LaneConfig, name: str) -> Path | None:
    """Return a file of the lane's checkpoint, where it is here; nothing is fetched."""
    source = lane.model_source
    if source == EMBEDDED:
        folder = cache_dir() / "smollm2-135m-instruct-float32"
    elif source == EMBEDDED_ENCODER:
        folder = encoder_dir()
    elif Path(source).is_dir():
        folder = Path(source)
    else:
        return _cached(source, name, lane.revision)
    return folder / name if (folder / name).is_file() else None


def is_here(lane: LaneConfig) -> bool:
    """Return whether the lane's weights need no download."""
    names = ("model.safetensors", "model.safetensors.index.json", "consolidated.safetensors")
    return any(find_file(lane, name) is not None for name in names)


def shape_of_lane(lane: LaneConfig) -> tuple[ModelShape, str]:
    """Return the sizes of the lane's model, and where they are from.

    Raises:
        NotReckoned: the config.json is not here and the model is none that is known, or it
            is of a form that is not reckoned.

    """
    path = find_file(lane, "config.json")
    if path is not None:
        return shape_of(read_object(path)), "its config.json"
    if lane.model_source in KNOWN_MODELS:
        return KNOWN_MODELS[lane.model_source].shape, "the shipped table"
    raise NotReckoned(
        f"{lane.model_source} is not downloaded, and not one of the models that are known here; "
        f"`hf download {lane.model_source} config.json` is enough to reckon"
    )


def read_object(path: Path) -> Mapping[str, Any]:
    """Read a JSON object.

    Raises:
        NotReckoned: it is none.

    """
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise NotReckoned(f"{path} cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise NotReckoned(f"{path} is no JSON object")
    return data


def _cached(source: str, name: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(source, name, revision=revision)
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None
