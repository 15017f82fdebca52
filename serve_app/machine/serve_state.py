"""How far Serve is with an application, asked from outside its processes.

Only HTTP and log files: importing Ray takes seconds, and a second driver would be one
more client of a cluster that is busy starting.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from serve_app.machine.port_owner import LOOPBACK, is_trusted
from serve_app.machine.ray_files import token_path
from serve_app.machine.start_progress import Seen

DASHBOARD_AT = re.compile(r"dashboard at (?:\x1b\[[0-9;]*m)*(https?://[^\s\x1b]+)")
"""What Ray prints when it starts; there is no address that is always its own."""

WARMS = "warming up"
"""What a lane replica logs once its engine is loaded."""

HTTP_S = 5.0


class ServeState:
    """Looks at one deployment on this machine.

    Its log, which `serve run` prints, says where the dashboard is, which has Serve's API.
    """

    def __init__(self, url: str, log: Path) -> None:
        self._url = url
        self._log = log
        self.logs = Path(os.environ.get("RAY_TMPDIR", ""), "ray/session_latest/logs/serve")

    def is_ready(self) -> bool:
        return _get(f"{self._url}/ready") is not None

    def look(self) -> Seen:
        """Return the applications and what their replicas have logged; empty if nothing answers."""
        said = self._log.read_text(errors="replace")
        raw = _ask(DASHBOARD_AT.search(said))
        applications: Mapping[str, Any] = {}
        if raw is not None:
            with contextlib.suppress(ValueError):
                applications = json.loads(raw).get("applications", {})
        return Seen(applications, frozenset(self._warming(applications)), said.splitlines())

    def _warming(self, applications: Mapping[str, Any]) -> list[str]:
        return [
            name
            for app in applications.values()
            for name, state in app.get("deployments", {}).items()
            if any(self._says_so(replica) for replica in state.get("replicas", []))
        ]

    def _says_so(self, replica: Mapping[str, Any]) -> bool:
        path = replica.get("log_file_path")
        if not path:
            return False
        with contextlib.suppress(OSError):
            return WARMS in (self.logs / Path(path).name).read_text(errors="replace")
        return False


def _ask(told: re.Match[str] | None) -> bytes | None:
    """Ask the dashboard for Serve's state; Ray's token goes to no other listener."""
    if told is None:
        return None
    address = urlsplit(told[1])
    if not is_trusted(address.port or 80, address.hostname or LOOPBACK):
        return None
    return _get(f"{told[1]}/api/serve/applications/", _bearer())


def _bearer() -> dict[str, str]:
    """Ray's token, from where Ray looks for it."""
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    path = token_path()
    if path is not None:
        with contextlib.suppress(OSError):
            token = path.read_text().strip()
    return {"authorization": f"Bearer {token}"} if token else {}


def _get(url: str, headers: Mapping[str, str] = {}) -> bytes | None:
    """The body of a 200; None for anything else."""
    request = urllib.request.Request(url, headers=dict(headers))  # noqa: S310  # http, see above
    try:
        with urllib.request.urlopen(request, timeout=HTTP_S) as response:  # noqa: S310
            body: bytes = response.read()
            return body
    except (OSError, ValueError):
        return None
