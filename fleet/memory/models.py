"""Where a model's shape is found: its config.json on this machine, or the shipped table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from fleet.memory.checkpoint.config_json import shape_of
from fleet.memory.shape import ModelShape, NotReckoned
from simulator import strict_yaml
from simulator.model.profile import Strict

SHIPPED = Path(__file__).with_name("known_models.yaml")


class KnownModel(Strict):
    """A model of a hub, as known_models.yaml has it.

    Attributes:
        config: its config.json.
        parameters_billion: as published.
        gated: its download asks for an accepted licence.

    """

    config: dict[str, Any]
    parameters_billion: float
    gated: bool = False

    @property
    def shape(self) -> ModelShape:
        return shape_of(self.config)


@cache
def known_models() -> Mapping[str, KnownModel]:
    """Return the shipped table, by the OWNER/NAME of the hub."""
    loaded = strict_yaml.load(SHIPPED.read_text())
    return TypeAdapter(dict[str, KnownModel]).validate_python(loaded)


def find_shape(source: str, revision: str | None = None) -> tuple[ModelShape, str]:
    """Return the shape of a folder's or a hub's model, and where it is from; nothing is fetched.

    Raises:
        NotReckoned: the config.json is not here and the model is none that is known, or it
            is of a form that is not reckoned.

    """
    path = find_file(source, "config.json", revision)
    if path is not None:
        return shape_of(read_object(path)), "its config.json"
    if source in known_models():
        return known_models()[source].shape, "the shipped table"
    if Path(source).is_dir() or Path(source).is_absolute():
        raise NotReckoned(f"{source}: there is no config.json in it")
    raise NotReckoned(
        f"{source} is not downloaded, and not one of the models that are known here; "
        f"`hf download {source} config.json` is enough to reckon"
    )


def find_file(source: str, name: str, revision: str | None = None) -> Path | None:
    """Return a file of a checkpoint, in its folder or in the hub's cache, where it is here."""
    if Path(source).is_dir():
        found = Path(source) / name
        return found if found.is_file() else None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(source, name, revision=revision)
    except HFValidationError:
        return None
    return Path(cached) if isinstance(cached, str) else None


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
