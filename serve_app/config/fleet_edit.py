"""Changing values of a fleet file in place: its comments, anchors and order stay as they are."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from serve_app.config.errors import ConfigError
from serve_app.config.files import read_regular, stamp_of
from serve_app.config.private_files import private
from serve_app.config.settings import load_fleet

Values = Mapping[str, str | float | None]


def set_routing(path: Path, values: Values) -> None:
    """Set members of `routing`, and nothing else.

    Raises:
        ConfigError: the file would not be valid, or something else would change with them (a
            block that an alias shares); it stays as it is.
        OSError: it cannot be written.

    """
    path = path.resolve()
    found, before = stamp_of(path), load_fleet(path)
    text = with_values(read_regular(path).decode(), "routing", values)
    partial = path.with_name(f".{path.name}.partial")
    try:
        fd = private(str(partial), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        _check(path, partial, before, values)
        partial.chmod(path.stat().st_mode & 0o777)
        if stamp_of(path) != found:
            raise ConfigError(f"{path}: changed meanwhile; nothing was written, try again")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _check(path: Path, partial: Path, before: Any, values: Values) -> None:
    try:
        after = load_fleet(partial)
    except ConfigError as error:
        raise ConfigError(str(error).replace(str(partial), str(path))) from error
    routing = before.routing.model_copy(update=dict(values))
    if after.model_dump() != before.model_copy(update={"routing": routing}).model_dump():
        raise ConfigError(f"{path}: more would change than {', '.join(values)}: edit it by hand")


def with_values(text: str, section: str, values: Values) -> str:
    """Return a YAML document with members of one of its sections set.

    Raises ConfigError where there is no such section, or it is no mapping.
    """
    node = _member(yaml.compose(text, yaml.SafeLoader), section)
    if not isinstance(node, yaml.MappingNode) or not node.value:
        raise ConfigError(f"there is no section '{section}' to write into")
    first = node.value[0][0].start_mark
    between = ", " if node.flow_style else "\n" + " " * first.column
    edits, added = [], ""
    for name, value in values.items():
        old = _member(node, name)
        if old is None:
            added += f"{name}: {_written(value)}{between}"
        else:
            begin, end = old.start_mark.index, old.end_mark.index
            # `name:` with nothing behind it is a null that has no place of its own.
            edits.append((begin, end, _written(value) if end > begin else f" {_written(value)}"))
    # From the end, so that places stay.
    for begin, end, new in sorted([*edits, (first.index, first.index, added)], reverse=True):
        text = text[:begin] + new + text[end:]
    return text


def _member(node: Any, name: str) -> Any:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for key, value in node.value if key.value == name), None)


def _written(value: str | float | None) -> str:
    # JSON is YAML, but for numbers with an exponent, which shares and thresholds never need.
    if isinstance(value, float):
        whole, _, part = f"{value:.6f}".partition(".")
        return f"{whole}.{part.rstrip('0') or '0'}"
    return json.dumps(value)
