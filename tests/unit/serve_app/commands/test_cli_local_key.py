"""Which commands send this machine's admin key, and to whom."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import socket
import sys
import threading
from functools import partial

import pytest

from serve_app.cli import main
from serve_app.commands import local_access
from serve_app.machine import port_owner
from serve_app.tenancy.local_key import keep_admin_key, local_admin_key

pytestmark = pytest.mark.security

KEY = local_admin_key("s3")
STATUS = {
    "fleet": "test",
    "ready": True,
    "warnings": ["mind the gap"],
    "lanes": {
        "chat": {
            "model": "small",
            "replicas": [{}, {}],
            "replicas_wanted": 2,
            "running": 3.0,
            "queue": 1.0,
            "kv_utilization": 0.25,
        }
    },
}
ANSWERS = {
    "/status": STATUS,
    "/admin/reload": {"ok": True, "replicas": [{"ok": True}]},
    "/metrics": 0,
    "/v1/route": dict.fromkeys(
        ("lane", "model", "reason", "score", "threshold", "prompt_tokens_estimate"), 1
    ),
}


class Deployment(http.server.BaseHTTPRequestHandler):
    """Notes whose key came, and answers what is asked."""

    def do_GET(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        self.rfile.read(length)
        self.server.keys.append(self.headers.get("authorization"))
        raw = json.dumps(ANSWERS[self.path]).encode()
        self.send_response(self.server.status)
        if self.server.leads_to:
            self.send_header("location", self.server.leads_to)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_) -> None:
        """Says nothing."""


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    status = 200
    leads_to = ""

    def __init__(self, *args) -> None:
        self.keys: list[str | None] = []
        super().__init__(*args)


@contextlib.contextmanager
def serving():
    server = Server(("127.0.0.1", 0), Deployment)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def deployment(tmp_path, monkeypatch):
    """A server of this user, and this user's key."""
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("POINTSMAN_API_KEY", raising=False)
    keep_admin_key("s3")
    with serving() as server:
        yield server


def run(server, *command, host="127.0.0.1", port=None) -> int:
    return main([*command, "--url", f"http://{host}:{port or server.server_address[1]}"])


def listeners(folder, *rows, monkeypatch) -> None:
    """What the kernel says of who listens: (address in its form, port, state, uid) each."""
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
    for name in ("tcp", "tcp6"):
        lines = [
            f"   0: {address}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 "
            f"00000000 {uid:5}        0 1 1 0 100 0 0 10 0\n"
            for address, port, state, uid in rows
            if (len(address) > 8) == (name == "tcp6")
        ]
        (folder / name).write_text(head + "".join(lines))
    monkeypatch.setattr(port_owner, "listeners", partial(port_owner.listeners, folder))


LOOPBACK = b"\x7f\0\0\1"
V4 = (LOOPBACK if sys.byteorder == "big" else LOOPBACK[::-1]).hex().upper()
ANY6, ANY4 = "0" * 32, "0" * 8


@pytest.mark.parametrize(
    "command", [["reload"], ["status"], ["tenants", "usage"]], ids=lambda words: words[-1]
)
def test_what_operates_the_deployment_sends_the_key(deployment, command, capsys):
    """Nobody has to look for it; it is not printed."""
    for form in ([], ["--json"]):
        assert run(deployment, *command, *form) == 0

    assert deployment.keys == [f"Bearer {KEY}"] * 2
    out = capsys.readouterr()
    assert KEY not in out.out + out.err


def test_what_any_caller_may_ask_goes_without(deployment):
    """An admin's key is for what needs it."""
    assert run(deployment, "route", "Hello") == 0

    assert deployment.keys == [None]


def test_a_given_key_counts(deployment, monkeypatch):
    """On the command line, or in the environment."""
    run(deployment, "status", "--key", "pm-given")
    monkeypatch.setenv("POINTSMAN_API_KEY", "pm-from-the-environment")
    run(deployment, "status")

    assert deployment.keys == ["Bearer pm-given", "Bearer pm-from-the-environment"]


def test_the_status_is_a_few_lines(deployment, capsys):
    """For a person; a warning is not to be missed."""
    run(deployment, "status")
    out = capsys.readouterr().out

    assert "2 of 2 replicas, 3 running, 1 waiting, KV cache 25%, small" in out
    assert "warning  mind the gap" in out


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", "127.0.0.1"])
def test_this_machine_has_several_names(deployment, name):
    """All of loopback."""
    assert run(deployment, "reload", host=name) == 0

    assert deployment.keys == [f"Bearer {KEY}"]


def test_a_machine_without_the_key_asks_without_it(deployment, tmp_path, monkeypatch):
    """Another user started the deployment: its refusal says what to do."""
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path / "other"))

    run(deployment, "status")

    assert deployment.keys == [None]


def test_an_unreadable_key_is_none(deployment, tmp_path):
    """Here a folder in its place: root reads every file."""
    (tmp_path / "state" / "admin-key").unlink()
    (tmp_path / "state" / "admin-key").mkdir()

    assert run(deployment, "status") == 0
    assert deployment.keys == [None]


def test_a_key_that_is_not_known_there_is_explained(deployment, capsys):
    """Nobody typed it, so nobody would know which it was."""
    deployment.status = 401

    assert run(deployment, "reload") == 1
    err = capsys.readouterr().err
    assert "admin-key" in err
    assert "POINTSMAN_STATE" in err
    assert KEY not in err


# -- to whom ------------------------------------------------------------------------


def test_a_neighbour_who_holds_the_port_is_sent_nothing(deployment, tmp_path, monkeypatch, capsys):
    """Neither the key nor anything else, and it is said why."""
    port = deployment.server_address[1]
    listeners(tmp_path, (V4, port, "0A", os.geteuid() + 4321), monkeypatch=monkeypatch)

    assert run(deployment, "reload") == 1

    assert deployment.keys == []
    err = capsys.readouterr().err
    assert f"port {port}" in err
    assert f"uid {os.geteuid() + 4321}" in err
    assert KEY not in err


@pytest.mark.parametrize(
    ("rows", "sends"),
    [
        ([(V4, "0A", 0)], True),
        ([(V4, "0A", os.geteuid())], True),
        ([(ANY4, "0A", os.geteuid())], True),
        ([(ANY6, "0A", os.geteuid())], True),
        # HAProxy has a socket for each of its threads.
        ([(V4, "0A", os.geteuid())] * 3, True),
        # Not where it may end: another address, a connection of somebody's to another port.
        ([(V4, "0A", os.geteuid()), ("0A00000A", "0A", 4321)], True),
        ([(V4, "0A", os.geteuid()), (V4, "01", 4321)], True),
        ([(V4, "0A", 4321), (V4, "0A", os.geteuid())], False),
        ([(V4, "0A", os.geteuid()), (ANY6, "0A", 4321)], False),
        ([(ANY4, "0A", 4321)], False),
        ([(ANY6, "0A", 4321)], False),
        # The kernel's word for a user of another namespace.
        ([(V4, "0A", 65534)], False),
    ],
)
def test_who_listens_is_the_kernel_s_word(deployment, tmp_path, monkeypatch, rows, sends):
    """This user or root, at every address that the connection may reach."""
    port = deployment.server_address[1]
    told = [(address, port, state, uid) for address, state, uid in rows]
    listeners(tmp_path, *told, monkeypatch=monkeypatch)

    assert (run(deployment, "status") == 0) is sends

    assert deployment.keys == ([f"Bearer {KEY}"] if sends else [])


def test_a_neighbour_at_the_other_loopback_address_is_noticed(deployment, tmp_path, monkeypatch):
    """`localhost` may be `::1` first."""
    port = deployment.server_address[1]
    words = [bytes(4), bytes(4), bytes(4), b"\0\0\0\1"]
    v6 = "".join((w if sys.byteorder == "big" else w[::-1]).hex().upper() for w in words)
    own, other = (V4, port, "0A", os.geteuid()), (v6, port, "0A", 4321)
    listeners(tmp_path, own, other, monkeypatch=monkeypatch)
    both = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)

    assert run(deployment, "status", host="localhost") == 1
    assert deployment.keys == []


def test_nobody_who_listens_is_sent_nothing(deployment, tmp_path, monkeypatch):
    """No word of the kernel's (another system, another namespace): it goes without the key."""
    monkeypatch.setattr(port_owner, "listeners", partial(port_owner.listeners, tmp_path / "none"))

    assert run(deployment, "status") == 0
    assert deployment.keys == [None]


def test_who_has_no_key_of_this_machine_may_ask_a_neighbour_s(deployment, tmp_path, monkeypatch):
    """Who runs the deployment is another user: there is nothing to hand over."""
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path / "other"))
    row = (V4, deployment.server_address[1], "0A", 4321)
    listeners(tmp_path, row, monkeypatch=monkeypatch)

    assert run(deployment, "status") == 0
    assert deployment.keys == [None]


@pytest.mark.parametrize("command", ["status", "reload"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("key", [[], ["--key", "pm-given"]])
def test_a_redirect_is_not_followed(deployment, command, status, key):
    """This user's own program may hold the port, and lead elsewhere."""
    with serving() as elsewhere:
        deployment.status = status
        deployment.leads_to = f"http://127.0.0.1:{elsewhere.server_address[1]}/status"

        assert run(deployment, command, *key) == 1

    assert len(deployment.keys) == 1
    assert elsewhere.keys == []


@pytest.mark.parametrize("host", ["10.0.0.5", "pointsman.example", "localhost.evil.example"])
def test_another_machine_is_sent_nothing(deployment, monkeypatch, host):
    """Whatever listens at that port here."""
    port = deployment.server_address[1]
    row = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.5", port))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [row])

    assert local_access.key_for(f"http://{host}:{port}") is None


def test_a_name_that_leads_here_and_elsewhere_is_sent_nothing(deployment, monkeypatch):
    """It is not this machine's alone."""
    port = deployment.server_address[1]
    rows = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
        for address in ("127.0.0.1", "10.0.0.5")
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: rows)

    assert local_access.key_for(f"http://localhost:{port}") is None


def test_the_environment_s_proxy_does_not_see_it(deployment, monkeypatch):
    """It would be handed the key."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    assert run(deployment, "reload") == 0
    assert deployment.keys == [f"Bearer {KEY}"]
