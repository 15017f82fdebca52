"""Editing the tenants file in place: comments stay, and nobody reads half of it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from serve_app.config.errors import ConfigError
from serve_app.config.files import is_open_for_writing, stamp_of
from serve_app.config.private_files import private
from serve_app.config.settings import load_tenants


def add_tenant(path: Path, tenant: str, tier: str) -> None:
    """Add a tenant without keys of its own."""

    def edit(data: Any) -> None:
        if not isinstance(data.get("tenants"), dict):  # a null, spelled somehow
            data["tenants"] = {}
        data["tenants"][_text(tenant)] = {"tier": _text(tier)}

    _edit(path, edit)


def remove_key(path: Path, tenant: str, key_id: str) -> None:
    def edit(data: Any) -> None:
        keys = data["tenants"][tenant]["keys"]
        keys[:] = [key for key in keys if key["id"] != key_id]

    _edit(path, edit)


class _AsWritten(VersionedResolver):
    """Every plain scalar is the text that it is written as, when read and when written.

    The settings are read as YAML 1.1, ruamel.yaml reads 1.2: `8e1234567890` as the id of a key is
    text to the one and a number to the other, which would write it back as infinity.
    """

    @property
    def versioned_resolver(self) -> dict[str, Any]:
        return {}


def _text(name: str) -> str:
    """Quote a text that YAML would read as something else."""
    is_plain = re.fullmatch(r"[A-Za-z][\w.-]*", name) and yaml.safe_load(name) == name
    return name if is_plain else DoubleQuotedScalarString(name)


def _edit(path: Path, change: Callable[[Any], None]) -> None:
    """Change the file, check the result, and only then put it in place.

    A link stays one: the file behind it is changed. Raises ConfigError where somebody else
    has changed it meanwhile, or is about to.
    """
    path = path.resolve()
    found = stamp_of(path)
    editor = YAML()
    editor.preserve_quotes = True
    editor.Resolver = _AsWritten
    editor.width = 4096  # lines stay whole
    data = editor.load(path.read_text(encoding="utf-8"))
    change(data)
    partial = path.with_name(f".{path.name}.partial")
    try:
        fd = private(str(partial), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            editor.dump(data, file)
            file.flush()
            os.fsync(file.fileno())
        load_tenants(partial)
        partial.chmod(path.stat().st_mode & 0o777)
        if stamp_of(path) != found or is_open_for_writing(path):
            raise ConfigError(f"{path}: changed meanwhile; nothing was written, try again")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
