"""Configuration files, and the environment variables that every process of a deployment reads.

| variable | meaning |
|---|---|
| POINTSMAN_HOME | has `configs/`; default: this directory if it has, else what was installed |
| POINTSMAN_TENANTS | the tenants file; default: configs/tenants.yaml |
| POINTSMAN_TOOLS | the folder of tool sets; default: configs/tools |
| POINTSMAN_STATE | secrets, tenancy, feedback; default: ~/.local/state/pointsman |
| POINTSMAN_PUMP | `native` or `python`: what moves tokens and scores prompts; default: `auto` |
| POINTSMAN_CACHE | where prepared checkpoints are kept; default: ~/.cache/pointsman |

Commands read `POINTSMAN_URL` and `POINTSMAN_API_KEY` besides (`serve_app.commands`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import subprocess
from pathlib import Path

from serve_app.config.errors import ConfigError, load_yaml, nearest
from serve_app.config.fleet import FleetConfig
from serve_app.config.private_files import narrow, shared, write_private
from serve_app.config.tenants import TenantsConfig
from simulator import home as files

logger = logging.getLogger("ray.serve")

MIN_SECRET_CHARS = 32

FLEET_OF_GPU = {"RTX 4090": "rtx4090", "RTX 5090": "rtx5090", "RTX 3090": "rtx3090"}
"""What `fleet: auto` means where there is one of these, whose kind its lanes ask Ray for."""

home = files.home
"""The folder that holds `configs/`; the simulator finds its profiles there, too."""


def fleet_path(name: str) -> Path:
    """Return the file of a fleet: a name under configs/fleets, a path, or `auto`."""
    if name == "auto":
        found = gpus()
        name = next((name for gpu, name in FLEET_OF_GPU.items() if gpu in found), "local")
    given = Path(name)
    if given.suffix in (".yaml", ".yml"):
        return given if given.is_absolute() else home() / given
    folder = home() / "configs" / "fleets"
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in folder.glob("*.yaml"))
        raise ConfigError(f"fleet: no file {path}{nearest(name, known)}")
    return path


def tenants_path(given: str | None = None) -> Path:
    """Return the tenants file: the one given, POINTSMAN_TENANTS, or configs/tenants.yaml."""
    if given is not None:
        return home() / given
    return Path(os.environ.get("POINTSMAN_TENANTS") or home() / "configs" / "tenants.yaml")


def tools_folder() -> Path:
    """Return the folder of tool sets: POINTSMAN_TOOLS, or configs/tools. It may not exist."""
    return Path(os.environ.get("POINTSMAN_TOOLS") or home() / "configs" / "tools")


def own_path(given: str) -> str:
    """Return a path of the fleet file from the home, where something is there; else as it is.

    A replica's working directory is Ray's affair: what is relative to it is found by chance.
    """
    path = home() / given
    # Not Path.exists(): a template may stand in the place of a path, longer than a name may be.
    return str(path.absolute()) if os.path.exists(path) else given  # noqa: PTH110


def load_fleet(path: Path) -> FleetConfig:
    return load_yaml(path, FleetConfig)


def load_tenants(path: Path) -> TenantsConfig:
    return load_yaml(path, TenantsConfig)


def refuse_unknown_lanes(tenants: TenantsConfig, fleet: FleetConfig, path: Path) -> None:
    """Raise ConfigError for a summary's lane that is not there: nobody would get summaries."""
    for place, lane in tenants.summary_lanes():
        writing = [name for name, x in fleet.enabled_lanes.items() if x.generates]
        if lane not in writing:
            hint = nearest(lane, writing)
            raise ConfigError(f"{path}: {place}.summary.lane: no enabled lane '{lane}'{hint}")


def gpus() -> str:
    """List the NVIDIA GPUs of this machine, one a line, as `nvidia-smi -L` does."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    # A fixed command, found on PATH.
    listed = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False)  # noqa: S603
    return listed.stdout if listed.returncode == 0 else ""


def state_dir() -> Path:
    """Return where what outlives a process is kept. It may not exist yet."""
    given = os.environ.get("POINTSMAN_STATE")
    return Path(given) if given else Path.home() / ".local" / "state" / "pointsman"


def tenancy_path(tenants: TenantsConfig) -> Path:
    """Return the tenancy store's file. It may not exist yet."""
    return state_dir() / tenants.store.path


def usage_folder(store: Path) -> Path:
    """Where the usage logs beside a tenancy store are."""
    return store.with_name(f"{store.name}.usage")


def responses_path(store: Path) -> Path:
    """Return the file of stored responses beside a tenancy store. It may not exist."""
    return store.with_name(f"{store.name}.responses")


def deployment_secret() -> str:
    """The secret that engine endpoints demand, made on first use (mode 0600).

    It is kept so that deploying again changes no deployment's arguments, which
    would restart every engine. What others could read is theirs no more, and told in the log.
    """
    path = state_dir() / "endpoint-secret"
    if not path.exists():
        partial = write_private(path, secrets.token_urlsafe(32))
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)
        partial.unlink()
    if told := shared(state_dir()):
        logger.warning("%s", told)
    if told := narrow(path):
        logger.warning("%s. Who has read it is an admin: delete it and restart for another", told)
    secret = path.read_text().strip()
    if len(secret) < MIN_SECRET_CHARS:
        raise ConfigError(f"{path}: damaged; delete it and start again")
    return secret


def haproxy_is_on() -> bool:
    """Return whether Serve runs behind its HAProxy. Ray reads this once, at import."""
    return os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1"
