"""Editing the tenants file in place: comments stay, and nobody reads half of it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from serve_app.config.errors import ConfigError
from serve_app.config.files import is_open_for_writing, read_regular, stamp_of
from serve_app.config.private_files import private
from serve_app.config.settings import load_tenants
from serve_app.config.tenants import TenantsConfig
from serve_app.config.tiers import CeilingsConfig

LOCK_S = 2.0
"""An edit takes milliseconds; who waits longer is told to try again."""


class FileChanged(ConfigError):
    """The file is not the one that the change was made for; nothing was written."""


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


def etag_of(path: Path) -> str:
    """Return what the file's text is known by: the same as long as not a byte of it changes."""
    return _digest(read_regular(path))


def set_ceilings(path: Path, tenant: str, ceilings: Mapping[str, Any], etag: str) -> None:
    """Make `ceilings` a tenant's own, in place of those that it has; empty: it has the tier's.

    `etag` is of the file that they were chosen for. Nothing else of the file may come to mean
    something else: where it would (a block that tenants share by a YAML alias), and where the
    file would not be valid, ConfigError is raised and the file stays as it is. FileChanged: it
    is another file by now. OSError: it cannot be written here.
    """
    wanted = CeilingsConfig.model_validate(dict(ceilings))

    def edit(data: Any) -> None:
        own = data["tenants"][tenant]
        if not ceilings:
            own.pop("ceilings", None)
            return
        if not isinstance(own.get("ceilings"), dict):
            own["ceilings"] = {}
        # In place: a comment stays at a limit that stays.
        for name in [name for name in own["ceilings"] if name not in ceilings]:
            del own["ceilings"][name]
        own["ceilings"].update({name: _plain(value) for name, value in ceilings.items()})

    def check(before: TenantsConfig, after: TenantsConfig) -> None:
        changed = before.tenants[tenant].model_copy(update={"ceilings": wanted})
        meant = before.model_copy(update={"tenants": {**before.tenants, tenant: changed}})
        if meant.model_dump() != after.model_dump():
            raise ConfigError(
                f"{path}: changing the ceilings of '{tenant}' would change others' as well (a "
                "block that is shared by an anchor or alias?); edit the file by hand"
            )

    _edit(path, edit, etag, check)


def _plain(value: Any) -> Any:
    """Write a value as the text that YAML 1.1 reads it from, with no exponent."""
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if value is None:
        return "null"
    if isinstance(value, int | float):
        return f"{Decimal(repr(value)).normalize():f}"
    return str(value)


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


def _edit(
    path: Path,
    change: Callable[[Any], None],
    etag: str | None = None,
    check: Callable[[TenantsConfig, TenantsConfig], None] = lambda _before, _after: None,
) -> None:
    """Change the file, check the result, and only then put it in place.

    A link stays one: the file behind it is changed. Raises FileChanged where somebody else
    has changed it meanwhile or since `etag`, or is about to; `check` raises what it finds
    between the two readings.
    """
    path = path.resolve()
    with _alone(path):
        found = stamp_of(path)
        raw = read_regular(path)
        if etag is not None and _digest(raw) != etag:
            raise FileChanged(f"{path}: changed since it was read; nothing was written")
        editor = YAML()
        editor.preserve_quotes = True
        editor.Resolver = _AsWritten
        editor.width = 4096  # lines stay whole
        data = editor.load(raw.decode())
        change(data)
        partial = path.with_name(f".{path.name}.partial")
        try:
            fd = private(str(partial), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                editor.dump(data, file)
                file.flush()
                os.fsync(file.fileno())
            check(load_tenants(path), load_tenants(partial))
            partial.chmod(path.stat().st_mode & 0o777)
            if stamp_of(path) != found or is_open_for_writing(path):
                raise FileChanged(f"{path}: changed meanwhile; nothing was written, try again")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:32]


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let no other edit of ours at it: ingress replicas and commands. The folder is the lock."""
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + LOCK_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise FileChanged(f"{path}: somebody else edits it; try again") from None
                time.sleep(0.02)
        yield
    finally:
        os.close(fd)
