"""The rows that sockets fall into, and the page that shows them."""

import json
import os
import socket
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from serve_app import cli
from serve_app.machine import ports
from serve_app.machine.port_owner import Listener
from serve_app.machine.ports import NOTHING, ROWS, TOKEN, markdown, open_ports, row_of

pytestmark = pytest.mark.security
PAGE = Path(__file__).parents[4] / "docs" / "ports.md"


def test_the_page_has_the_table_that_the_command_writes(capsys):
    assert cli.main(["ports", "--markdown"]) == 0
    table = capsys.readouterr().out
    assert table.strip() == markdown()
    assert table in PAGE.read_text(), "put what 'pointsman ports --markdown' prints there"


@pytest.mark.parametrize(
    ("process", "host", "port", "what", "asks"),
    [
        ("haproxy", "127.0.0.1", 8000, "the API", "key"),
        ("haproxy", "0.0.0.0", 9101, "HAProxy's metrics", NOTHING),
        ("haproxy", "0.0.0.0", 8404, "HAProxy's statistics page", NOTHING),
        ("dashboard", "127.0.0.1", 8266, "dashboard, jobs and Serve's API", TOKEN),
        (
            "ray::ServeReplica:pointsman:ingress",
            "127.0.0.1",
            30001,
            "the API without HAProxy",
            "key",
        ),
        (
            "ray::ServeReplica:pointsman:ingress",
            "127.0.0.1",
            8000,
            "the API, beside HAProxy",
            "key",
        ),
        ("ray::ServeReplica:pointsman:lane:chat", "10.0.0.7", 41000, "engine endpoint", None),
        (
            "ray::ServeReplica:pointsman:lane:chat",
            "::",
            41000,
            "Serve's gRPC between replicas",
            TOKEN,
        ),
        ("ray::ServeController", "::ffff:127.0.0.1", 41000, "Ray's gRPC: calls, objects", TOKEN),
    ],
)
def test_a_socket_falls_into_its_row(process, host, port, what, asks):
    row = row_of(process, listener(host, port))
    assert row.what == what
    assert row.asks == (asks or ports.SECRET)


def listener(host: str, port: int) -> Listener:
    address = ip_address(host)
    is_ipv6 = address.version == 6
    return Listener(getattr(address, "ipv4_mapped", None) or address, port, 0, 0, is_ipv6)


def test_what_nobody_has_written_down_is_unknown():
    assert row_of("python", listener("0.0.0.0", 4444)) is None
    assert row_of("ray::ServeReplica:pointsman:ledger", listener("0.0.0.0", 4444)).asks == TOKEN
    assert len({(row.port, row.process, row.what) for row in ROWS}) == len(ROWS)


@pytest.fixture
def stray(tmp_path):
    """A process that Ray has started and that listens where nothing is known to."""
    code = (
        "import socket, sys, time; s = socket.create_server(('127.0.0.1', 0));"
        "print(s.getsockname()[1], flush=True); time.sleep(600)"
    )
    env = {**os.environ, "RAY_TMPDIR": str(tmp_path), "RAY_RAYLET_PID": "1"}
    process = subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE)
    assert process.stdout is not None
    yield int(process.stdout.readline())
    process.kill()
    process.communicate()


def test_an_unknown_one_is_listed_and_the_command_fails(stray, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("POINTSMAN_RUN", str(tmp_path))
    [found] = open_ports(tmp_path)
    assert (found.listener.port, found.row) == (stray, None)
    assert cli.main(["ports", "--json"]) == 1
    [row] = json.loads(capsys.readouterr().out)
    assert (row["port"], row["what"], row["is_documented"]) == (stray, "unknown", False)
    assert cli.main(["ports"]) == 1
    assert f"127.0.0.1:{stray}" in capsys.readouterr().out


AGENT_OF_RAY = """
import socket, sys, time
s = socket.create_server(("127.0.0.1", 0))
with open(sys.argv[1], "w") as log, open("/proc/self/comm", "w") as name:
    name.write("ray::DashboardAgent")
    name.flush()
    print(s.getsockname()[1], flush=True)
    time.sleep(600)
"""


def test_rays_agent_is_known_by_its_files_for_its_title_overwrites_what_else_tells(tmp_path):
    (tmp_path / "ray").mkdir()
    command = [sys.executable, "-c", AGENT_OF_RAY, str(tmp_path / "ray/agent.out")]
    with subprocess.Popen(command, env={}, stdout=subprocess.PIPE) as agent:
        assert agent.stdout is not None
        port = int(agent.stdout.readline())
        found = open_ports(tmp_path)
        agent.kill()

    assert [(x.listener.port, x.pid) for x in found] == [(port, agent.pid)]


def test_sockets_of_others_are_not_listed(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("POINTSMAN_RUN", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)):
        assert cli.main(["ports"]) == 0
    assert capsys.readouterr().out == "nothing of this user's listens\n"
