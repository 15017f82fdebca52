"""Every listening socket of a deployment is in docs/ports.md, and asks for what it says there."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.support.deployment import ROOT
from serve_app.machine import ports
from serve_app.machine.ports import EVERYWHERE, NOTHING, Open, open_ports
from tests.e2e.support import eventually, pointsman

pytestmark = pytest.mark.security

PATHS = ("/metrics", "/stats", "/status", "/v1/models", "/api/jobs/", "/nodes", "/logs")


def folder() -> Path:
    return Path(os.environ["POINTSMAN_RUN"])


@pytest.fixture
def found(simulated: str) -> list[Open]:
    """Once the two ways to look agree: a replica may be starting."""
    return eventually(lambda: _agreed(open_ports(folder())), every_s=0.5)


def _agreed(found: list[Open]) -> list[Open] | None:
    pids = {x.pid for x in found}
    ours = {(x.listener.port, x.pid) for x in found}
    seen = {(port, pid) for port, pid in _by_ss() if pid in pids}
    # A HAProxy that is being replaced is missing from one of two looks.
    is_whole = any(x.listener.port == 8000 for x in found)
    return found if is_whole and {p for p, _ in seen} == {p for p, _ in ours} else None


def _by_ss() -> Iterator[tuple[int, int]]:
    listed = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        port = int(line.split()[3].rpartition(":")[2])
        for pid in re.findall(r"pid=(\d+)", line):
            yield port, int(pid)


def _is_of_deployment(pid: int) -> bool:
    with contextlib.suppress(OSError):
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        mine = f"RAY_TMPDIR={folder()}".encode() in environment
        return str(folder()).encode() in line or (
            mine and b"RAY_RAYLET_PID" in b"".join(environment)
        )
    return False


def test_every_socket_falls_into_a_row(found: list[Open]) -> None:
    assert [x for x in found if x.row is None] == []
    processes = " ".join(x.process for x in found)
    for name in ("haproxy", ":ingress", ":lane:chat", ":ledger", "gcs_server", "raylet", "serve"):
        assert name in processes


def test_none_of_those_that_ss_shows_is_left_out(found: list[Open]) -> None:
    listed = {x.listener.port for x in found}
    missed = {
        (port, pid) for port, pid in _by_ss() if port not in listed and _is_of_deployment(pid)
    }
    assert missed == set()


def test_on_all_interfaces_are_those_that_the_page_names(found: list[Open]) -> None:
    everywhere = {x.row for x in found if not x.listener.host.is_loopback}
    assert everywhere == {row for row in ports.ROWS if row.bound.startswith(EVERYWHERE)}


def test_only_those_answer_that_are_said_to_ask_for_nothing(found: list[Open]) -> None:
    """Without key, token or secret, and not through the local tenant's door."""
    with httpx.Client(timeout=60, headers={"x-forwarded-for": "192.0.2.1"}) as http:
        answering = {x.row.what for x in found if x.row and _answers(http, x)}
    # The agent opens its metrics some time after the rest.
    assert answering == {x.row.what for x in found if x.row and x.row.asks == NOTHING}
    assert answering >= {"HAProxy's metrics", "HAProxy's statistics page"}


def _answers(http: httpx.Client, found: Open) -> bool:
    """Whether it tells anything; front pages are programs, and say nothing of a deployment."""
    for path in PATHS:
        with contextlib.suppress(httpx.HTTPError):
            if http.get(f"http://127.0.0.1:{found.listener.port}{path}").is_success:
                return True
    return False


def test_the_command_lists_them(found: list[Open]) -> None:
    listed = pointsman("ports")
    assert listed
    assert all(x["is_documented"] for x in listed)
    assert {x["port"] for x in listed} >= {8000, 8404, 9101, 8265}


def test_a_planted_cluster_changes_nothing(simulated: str, environment: dict[str, str]) -> None:
    """Where Ray would look by itself. Who joins it gives away the token."""
    planted = Path("/tmp/ray/ray_current_cluster")
    if planted.exists():
        pytest.skip("somebody's own Ray is named there")
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        stranger.settimeout(0.1)
        planted.parent.mkdir(exist_ok=True)
        planted.write_text(f"127.0.0.1:{stranger.getsockname()[1]}")
        try:
            done = subprocess.run(
                [ROOT / "scripts/bin/serve", "status"],
                env=environment,
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            with contextlib.suppress(TimeoutError):
                heard.append(stranger.accept())
        finally:
            planted.unlink()
    assert "pointsman" in done.stdout, done.stderr
    assert heard == []
