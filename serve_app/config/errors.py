"""Configuration faults, told with the path, the value and the nearest valid name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

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


STRICT = ConfigDict(extra="forbid")
"""Of configuration that extends a dataclass of router/: an unknown key is an error there, too."""


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
    # What a validator of ours says, pydantic calls a value error.
    says = str(fault["msg"]).removeprefix("Value error, ")
    if not location:
        # A fault between fields: its message names them, and the input is the file.
        return says
    if fault["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _names_at(model, location[:-1])
        return f"{where}: unknown key{nearest(str(location[-1]), known)}"
    if isinstance(fault.get("input"), dict | list) or "keys" in location:
        return f"{where}: {says}"
    return f"{where}: {says}, got {fault.get('input')!r}"[:400]


def _names_at(kind: Any, location: tuple[Any, ...]) -> list[str]:
    """Return the names that are valid at a path below an annotation."""
    if _is_model(kind):
        fields = _fields_of(kind)
        return _names_at(fields.get(location[0]), location[1:]) if location else list(fields)
    inside = location[1:] if get_origin(kind) in (dict, list) else location
    return next(filter(None, (_names_at(inner, inside) for inner in get_args(kind))), [])


def _fields_of(model: Any) -> dict[str, Any]:
    """Return the annotations of a model's fields. A dataclass of router/ is a model, too."""
    if is_dataclass(model):
        return get_type_hints(model)
    return {name: field.annotation for name, field in model.model_fields.items()}


def _is_model(value: Any) -> bool:
    return isinstance(value, type) and (issubclass(value, BaseModel) or is_dataclass(value))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?`, or nothing when no known name is near."""
    matches = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{matches[0]}'?" if matches else ""
