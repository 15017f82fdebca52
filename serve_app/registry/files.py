"""The files of tool sets: `NAME-VERSION.yaml`, as `crm-7.yaml` for `crm@7`.

The name says which version it is, so that one that cannot be read takes nothing away.
"""

from __future__ import annotations

import re
from pathlib import Path

from serve_app.config.errors import ConfigError
from serve_app.config.tools import load_tool_set
from serve_app.registry.tool_set import ToolSet, build_tool_set

_STEM = re.compile(r"([a-z0-9][a-z0-9_-]{0,62})-([1-9][0-9]{0,5})")


def tool_files(folder: Path) -> list[Path]:
    """The files in a folder, in order. What begins with a dot is on its way to its name.

    Empty where there is no folder. Raises OSError for one that cannot be read.
    """
    try:
        found = sorted(x for x in folder.iterdir() if x.suffix in (".yaml", ".yml"))
    except FileNotFoundError:
        return []
    return [path for path in found if not path.name.startswith(".")]


def file_name(name: str, version: int) -> str:
    return f"{name}-{version}.yaml"


def key_of(path: Path) -> tuple[str, int] | None:
    """Set and version by the file's name; None: it is none of a version's."""
    match = _STEM.fullmatch(path.stem)
    return None if match is None else (match[1], int(match[2]))


def read_file(path: Path) -> ToolSet:
    """Read and check one version. Raises ConfigError, which names the file."""
    config = load_tool_set(path)
    try:
        found = build_tool_set(config)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    if key_of(path) != (found.name, found.version):
        raise ConfigError(
            f"{path}: describes {found.label}, whose file is "
            f"{file_name(found.name, found.version)}; rename it, or change what it says"
        )
    return found
