"""Where configuration files are: the operator's own, or those that come with the product.

The latter are a checkout's, or their copy in an installed wheel; both have the same layout:
`serve_config.yaml`, `configs/`, `deploy/`, `scripts/environment`.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_PACKAGES = Path(__file__).resolve().parents[1]


def home() -> Path:
    """Return the folder that holds `configs/`.

    It is POINTSMAN_HOME; else the current directory, where that is a checkout or a folder that
    `pointsman init` has made; else what comes with the product.
    """
    given = os.environ.get("POINTSMAN_HOME")
    if given:
        return Path(given)
    with contextlib.suppress(FileNotFoundError):  # raised in a directory that is gone
        if holds_configuration(Path.cwd()):
            return Path.cwd()
    return shipped()


def holds_configuration(folder: Path) -> bool:
    return (folder / "serve_config.yaml").is_file() and (folder / "configs" / "fleets").is_dir()


def shipped() -> Path:
    """Return the folder of what comes with the product. An installed one is not to be edited."""
    return _PACKAGES if holds_configuration(_PACKAGES) else _PACKAGES / "serve_app" / "shipped"


def configs(kind: str) -> Path:
    """Return the folder of profiles or workloads: the operator's, where there is one."""
    own = home() / "configs" / kind
    return own if own.is_dir() else shipped() / "configs" / kind
