"""One version of a tool set: a file under configs/tools/ (docs/tools.md)."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from serve_app.config.errors import ConfigError, StrictModel, load_yaml

SET_NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"
"""Of a set. It holds no '@', which parts the name from the version in a reference."""

SetNames = list[Annotated[str, Field(pattern=SET_NAME)]]

TOOL_NAME = r"^[A-Za-z0-9_.-]{1,128}$"
"""What the Model Context Protocol allows; the APIs' own bounds are narrower."""

MAX_FILE_BYTES = 2**20
MAX_VERSION = 999_999
MAX_TOOLS = 128
MAX_EXAMPLES = 5
MAX_VALUES = 20_000
"""Values in one file, those behind YAML's aliases counted each time they are used."""

MAX_LEVELS = 48
"""As `limits.schemas.levels` by default: a request with deeper tools would be refused."""
_INT64 = 2**63


class ToolExampleConfig(StrictModel):
    """One correct call, which is shown to the model.

    Attributes:
        asked: what a user said; may be left out.
        arguments: the call's, as its schema has them.

    """

    asked: str = Field("", max_length=300)
    arguments: dict[str, Any]


class ToolConfig(StrictModel):
    """One tool that clients run.

    Attributes:
        parameters: JSON schema of the arguments, an object's.
        strict: whether the engine holds every call to the schema by a grammar.
        examples: two or three help smaller models; they are part of the description that
            the engine reads.

    """

    name: str = Field(pattern=TOOL_NAME)
    description: str = Field("", max_length=20_000)
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    strict: bool = False
    examples: list[ToolExampleConfig] = Field(default_factory=list, max_length=MAX_EXAMPLES)

    @model_validator(mode="after")
    def _arguments_are_an_object(self) -> Self:
        if self.parameters.get("type") != "object":
            raise ValueError("parameters: needs 'type: object', as the arguments of a call are one")
        return self


class ToolSetConfig(StrictModel):
    """A file under configs/tools/: one version of one set, which never changes once published.

    Attributes:
        note: for people; no part of what is published.

    """

    name: str = Field(pattern=SET_NAME)
    version: int = Field(ge=1, le=MAX_VERSION)
    note: str = ""
    tools: list[ToolConfig] = Field(min_length=1, max_length=MAX_TOOLS)

    @model_validator(mode="before")
    @classmethod
    def _is_plain(cls, data: Any) -> Any:
        wrong = _not_json(data)
        if wrong is not None:
            raise ValueError(wrong)
        return data

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        seen: set[str] = set()
        for tool in self.tools:
            if tool.name in seen:
                raise ValueError(f"tools: two of them have the name '{tool.name}'")
            seen.add(tool.name)
        return self


def load_tool_set(path: Path) -> ToolSetConfig:
    """Read one file, or raise ConfigError naming every fault."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if size > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: has {size} bytes, at most {MAX_FILE_BYTES} are read")
    return load_yaml(path, ToolSetConfig)


def _not_json(data: Any) -> str | None:
    """Say what in a YAML document has no place in JSON: dates, endless and huge structures."""
    waiting: list[tuple[Any, str, int]] = [(data, "", 1)]
    count = 0
    while waiting:
        value, path, level = waiting.pop()
        count += 1
        if count > MAX_VALUES or level > MAX_LEVELS:
            return f"holds more than {MAX_VALUES} values or {MAX_LEVELS} levels"
        if isinstance(value, dict):
            odd = next((key for key in value if not isinstance(key, str)), None)
            if odd is not None:
                return f"{path or 'the file'}: the key {odd!r} is no text; put it in quotes"
            waiting += [(inner, f"{path}.{key}", level + 1) for key, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(inner, f"{path}.{i}", level + 1) for i, inner in enumerate(value)]
        elif not _is_scalar(value):
            what = type(value).__name__
            return f"{path.lstrip('.')}: is no value of JSON ({what}); put it in quotes"
    return None


def _is_scalar(value: Any) -> bool:
    if isinstance(value, float):
        return isfinite(value)
    if isinstance(value, int):
        return -_INT64 <= value < _INT64
    return value is None or isinstance(value, str)
