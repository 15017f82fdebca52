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
from simulator.home import holds_configuration, shipped


def named_fleet(named: str) -> Path:
    """Return the fleet file of this name or path; its home is this process's from here on.

    Raises ConfigError for a name that is none.
    """
    path = _from_here(named) or fleet_path(named)
    _move_home(path)
    return path


def folder_beside(fleet: Path, asked_home: str | None) -> Path:
    """Return where files that are made for a fleet belong: the home that holds it, or its folder.

    Args:
        fleet: its file.
        asked_home: POINTSMAN_HOME as the command was given it (`named_fleet` sets it, too).

    Raises ConfigError where that is what comes with the product and nobody asked for it or stands
    in it: a command that is given no folder must not write into the installation.

    """
    holder = _holder(fleet)
    found = fleet.absolute().parent if holder is None else holder
    here = Path.cwd()
    if found == shipped() and not asked_home and found not in (here, *here.parents):
        raise ConfigError(f"{found} comes with the product: say where to write with --into FOLDER")
    return found


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


def _holder(fleet: Path) -> Path | None:
    """Return the home that the file lies in."""
    return next((x for x in fleet.absolute().parents if holds_configuration(x)), None)


def _move_home(fleet: Path) -> None:
    """Go to the home that the file lies in, unless a home was asked for."""
    found = _holder(fleet)
    if found is not None:
        os.environ.setdefault("POINTSMAN_HOME", str(found))
