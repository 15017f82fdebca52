"""What this node's deployment serves: its fleet file, and where its traces are.

Commands run beside a deployment and not in it. What they read, the fleet file may have put
elsewhere; which fleet file that is, only the deployment knows. So each ingress replica notes both
in the state directory when it starts, and the note outlives it: traces are read when nothing runs.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from serve_app.config.fleet import FleetConfig
from serve_app.config.private_files import write_private
from serve_app.config.settings import fleet_path, load_fleet, state_dir

logger = logging.getLogger("ray.serve")

FILE_NAME = "served.json"


@dataclass(frozen=True, slots=True)
class Served:
    """Of the deployment that has last served on this node.

    Attributes:
        fleet_file: from which it was built; it may have changed, or have gone.
        traces: the folder of the traces; it may not exist.

    """

    fleet_file: Path
    traces: Path


def note_served(fleet_file: Path, fleet: FleetConfig) -> None:
    """Leave a note of what an ingress replica serves; one that cannot be written stops nothing."""
    path = state_dir() / FILE_NAME
    told = {"fleet_file": str(fleet_file.absolute()), "traces": str(traces_of(fleet))}
    try:
        write_private(path, json.dumps(told) + "\n").replace(path)
    except OSError as error:
        logger.warning("%s: commands will not find this deployment's traces: %s", path, error)


def served() -> Served | None:
    """Read the note; None: nothing has served here, or another release has."""
    try:
        told = json.loads((state_dir() / FILE_NAME).read_text(encoding="utf-8"))
        return Served(Path(told["fleet_file"]), Path(told["traces"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def served_fleet_file() -> Path:
    """Return the fleet file that is served here, else the one that would be: `auto`."""
    found = served()
    return fleet_path("auto") if found is None else found.fleet_file


def traces_of(fleet: FleetConfig) -> Path:
    """Return where a fleet's traces are on this node. It may not exist yet."""
    return (state_dir() / fleet.traces.path).absolute()


def traces_folder(fleet_file: Path | None = None) -> Path:
    """Return where this node's traces are: those of a fleet file, else the served one's."""
    if fleet_file is not None:
        return traces_of(load_fleet(fleet_file))
    found = served()
    return traces_of(load_fleet(fleet_path("auto"))) if found is None else found.traces
