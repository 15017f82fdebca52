"""The only reader of environment variables and configuration files.

| variable | meaning |
|---|---|
| POINTSMAN_HOME | the checkout; default: the directory above this package |
| POINTSMAN_TENANTS | the tenants file; default: configs/tenants.yaml |
| POINTSMAN_STATE | where the endpoint secret is kept; default: ~/.local/state/pointsman |
| POINTSMAN_CACHE | where prepared checkpoints are kept; default: ~/.cache/pointsman |
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

from serve_app.config_errors import ConfigError, load_yaml, nearest
from serve_app.fleet_config import FleetConfig
from serve_app.tenant_config import TenantsConfig

MIN_SECRET_CHARS = 32


def home() -> Path:
    """The checkout that holds `configs/`."""
    return Path(os.environ.get("POINTSMAN_HOME") or Path(__file__).resolve().parents[1])


def fleet_path(name: str) -> Path:
    """The file of a fleet: a name under configs/fleets, a path, or `auto`."""
    if name == "auto":
        name = "rtx4090" if has_gpu() else "local"
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
    """The tenants file: the one given, POINTSMAN_TENANTS, or configs/tenants.yaml."""
    if given is not None:
        return home() / given
    return Path(os.environ.get("POINTSMAN_TENANTS") or home() / "configs" / "tenants.yaml")


def load_fleet(path: Path) -> FleetConfig:
    """Read a fleet file, or raise ConfigError."""
    return load_yaml(path, FleetConfig)


def load_tenants(path: Path) -> TenantsConfig:
    """Read the tenants file, or raise ConfigError."""
    return load_yaml(path, TenantsConfig)


def has_gpu() -> bool:
    """Whether an NVIDIA GPU answers on this machine."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    # A fixed command, found on PATH.
    listed = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False)  # noqa: S603
    return listed.returncode == 0 and listed.stdout.startswith("GPU")


def deployment_secret() -> str:
    """The secret that engine endpoints demand, made on first use (mode 0600).

    It is kept so that deploying again changes no deployment's arguments, which
    would restart every engine.
    """
    given = os.environ.get("POINTSMAN_STATE")
    folder = Path(given) if given else Path.home() / ".local" / "state" / "pointsman"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "endpoint-secret"
    if not path.exists():
        # Written whole before it has its name, so that nobody reads half of it.
        fd, partial = tempfile.mkstemp(dir=folder)
        with os.fdopen(fd, "w") as file:
            file.write(secrets.token_urlsafe(32))
            os.fsync(fd)
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)
        Path(partial).unlink()
    secret = path.read_text().strip()
    if len(secret) < MIN_SECRET_CHARS:
        raise ConfigError(f"{path}: damaged; delete it and start again")
    return secret


def haproxy_is_on() -> bool:
    """Whether Serve runs behind its HAProxy; Ray reads this once, at import."""
    return os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1"
