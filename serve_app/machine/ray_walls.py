"""Refuses to build on a Ray that others can get into.

`build` runs in a process of the cluster, whose environment is that of who started it:
`serve run`, `ray start`, or another's start that `serve deploy` has met.
"""

from __future__ import annotations

from pathlib import Path

import ray
from ray._common.utils import get_default_ray_temp_dir
from ray._private.authentication.authentication_utils import is_token_auth_enabled
from ray.serve._private.constants import RAY_SERVE_ENABLE_HA_PROXY

from serve_app.config.errors import ConfigError
from serve_app.config.settings import haproxy_is_on
from serve_app.machine.ray_files import ACTIVATE, keep_token_private, refuse_shared, run_dir


def refuse_open_ray() -> None:
    """Raise ConfigError with a remedy if Ray was started without its protections."""
    if not is_token_auth_enabled():
        raise ConfigError(f"Ray was started without token authentication: {ACTIVATE}")
    if not (haproxy_is_on() and RAY_SERVE_ENABLE_HA_PROXY):
        raise ConfigError(f"Ray was started without Serve's HAProxy mode: {ACTIVATE}")
    folder = run_dir()
    refuse_shared(folder)
    if folder.resolve() not in ray_dir().resolve().parents:
        raise ConfigError(f"Ray's directory {ray_dir()} is not in {folder}: {ACTIVATE}")
    keep_token_private()


def ray_dir() -> Path:
    """Return the directory of the running Ray's files, or of the next one's."""
    node = ray._private.worker._global_node  # noqa: SLF001  # it says so nowhere else
    return Path(node.get_temp_dir_path() if node is not None else get_default_ray_temp_dir())
