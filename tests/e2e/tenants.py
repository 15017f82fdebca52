"""Tenants straight into the file, many at once: a command for each takes seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from serve_app.tenancy.auth import make_key
from tests.e2e.support import reload

Headers = dict[str, str]


def add_tenants(path: Path, url: str, tenants: Mapping[str, Mapping[str, Any]]) -> list[Headers]:
    """Tenants with these settings; their keys as headers, once the deployment knows them."""
    config = yaml.safe_load(path.read_text())
    headers = []
    for name, settings in tenants.items():
        key, entry = make_key()
        config["tenants"][name] = {**settings, "keys": [entry.model_dump()]}
        headers.append({"authorization": f"Bearer {key}"})
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    reload(url)
    return headers


def of_tier(path: Path, url: str, tier: str, names: Iterable[str]) -> dict[str, Headers]:
    """Tenants of one tier by their names."""
    wanted = list(names)
    return dict(
        zip(wanted, add_tenants(path, url, {x: {"tier": tier} for x in wanted}), strict=True)
    )
