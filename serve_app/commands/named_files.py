"""Files that a command line names, and the home that they belong to.

A path on a command line is one from where it is typed. What stands in such a file is meant from
the deployment's home (`POINTSMAN_HOME`), as the deployment reads it.
"""

from __future__ import annotations

import os
from pathlib import Path

from fleet.cards.table import Card, cards
from serve_app.config.errors import ConfigError, nearest
from serve_app.config.settings import fleet_path, tenants_path
from simulator.home import holds_configuration


def named_fleet(named: str) -> Path:
    """Return the fleet file of this name or path; its home is this process's from here on.

    Raises ConfigError for a name that is none.
    """
    path = _from_here(named) or fleet_path(named)
    _move_home(path)
    return path


def named_tenants(named: str | None) -> Path:
    """Return the tenants file of this path; None: that of the home."""
    return (_from_here(named) if named is not None else None) or tenants_path(named)


def named_card(kind: str) -> Card:
    """Return the card of this name in the shipped table. Raises ConfigError."""
    known = cards()
    if kind not in known:
        raise ConfigError(f"--card: {kind} is none of {', '.join(known)}{nearest(kind, known)}")
    return known[kind]


def _from_here(named: str) -> Path | None:
    path = Path(named)
    is_file = path.suffix in (".yaml", ".yml") and path.is_file()
    return path.absolute() if is_file else None


def _move_home(fleet: Path) -> None:
    """Go to the home that the file lies in, unless a home was asked for."""
    found = next((x for x in fleet.absolute().parents if holds_configuration(x)), None)
    if found is not None:
        os.environ.setdefault("POINTSMAN_HOME", str(found))
