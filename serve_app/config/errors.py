"""Configuration faults, told with the path, the value and the nearest valid name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from serve_app.config.files import read_regular
from simulator import strict_yaml

_KEY = re.compile(r"pm-\w+-[\w-]+", re.IGNORECASE)
"""An API key that somebody has put into the file is not repeated."""


class ConfigError(Exception):
    """A configuration file that cannot be used. The message is for the operator."""

    def __init__(self, message: str) -> None:
        super().__init__(_KEY.sub("pm-…", message))


class StrictModel(BaseModel):
    """Base of every configuration model: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


M = TypeVar("M", bound=BaseModel)


def load_yaml(path: Path, model: type[M]) -> M:
    """Read one YAML file as `model`, or raise ConfigError naming every fault."""
    try:
        data = strict_yaml.load(read_regular(path).decode())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8") from error
    except strict_yaml.DuplicateKeysError as error:
        raise ConfigError("\n".join(f"{path}: {fault}" for fault in error.faults)) from error
    except yaml.YAMLError as error:
        # Not the whole error: it quotes the line, which may hold a key.
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        problem = getattr(error, "problem", None) or "it does not parse"
        raise ConfigError(f"{path}: is not YAML{where}: {problem}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: a value cannot be read: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: is nested too deeply") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: should be a mapping, is {type(data).__name__}")
    return validate(data, model, str(path))


def validate(data: dict[str, Any], model: type[M], source: str) -> M:
    """Check a mapping against `model`, or raise ConfigError naming every fault.

    Without its cause, which would quote the file in a log.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = [_explain(fault, model) for fault in error.errors()]
        raise ConfigError("\n".join(f"{source}: {line}" for line in lines)) from None


def _explain(fault: Any, model: type[BaseModel]) -> str:
    location = fault["loc"]
    where = ".".join(str(part) for part in location)
    if not location:
        # A fault between fields: its message names them, and the input is the file.
        return str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        return f"{where}: unknown key{nearest(str(location[-1]), known)}"
    if isinstance(fault.get("input"), dict | list) or "keys" in location:
        return f"{where}: {fault['msg']}"
    return f"{where}: {fault['msg']}, got {fault.get('input')!r}"[:400]


def _fields_at(model: type[BaseModel], location: Iterable[Any]) -> list[str]:
    """Names valid at a path into `model`; mappings are stepped through."""
    current: Any = model
    for part in location:
        current = _step(current, part)
        if current is None:
            return []
    return list(current.model_fields) if _is_model(current) else []


def _step(current: Any, part: Any) -> Any:
    if isinstance(current, _Through):
        return current.model
    if not _is_model(current):
        return None
    field = current.model_fields.get(part)
    return None if field is None else _model_inside(field.annotation)


def _model_inside(annotation: Any) -> Any:
    """The model in `Model`, `Model | None`, `dict[str, Model]` or `list[Model]`."""
    if _is_model(annotation):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_inside(inner)
        if found is not None:
            is_container = getattr(annotation, "__origin__", None) in (dict, list)
            return _Through(found) if is_container else found
    return None


class _Through:
    """A mapping or list of models: one more path element leads to the model."""

    def __init__(self, model: Any) -> None:
        self.model = model


def _is_model(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing when no known name is near."""
    matches = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{matches[0]}'?" if matches else ""
