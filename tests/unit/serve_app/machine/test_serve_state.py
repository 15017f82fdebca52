"""What Serve's REST API and the replicas' logs tell of a start."""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from serve_app.machine import port_owner, serve_state
from serve_app.machine.serve_state import WARMS, ServeState

APPLICATIONS = {
    "pointsman": {
        "status": "DEPLOYING",
        "deployments": {
            "lane:chat": {"replicas": [{"log_file_path": "/serve/replica_chat_1.log"}]},
            "lane:quality": {"replicas": [{"log_file_path": "/serve/replica_quality_1.log"}]},
            "ingress": {"replicas": [{"log_file_path": None}]},
        },
    }
}


class Dashboard(BaseHTTPRequestHandler):
    """Ray's dashboard, which wants its token."""

    def do_GET(self) -> None:
        is_known = self.headers["authorization"] == "Bearer let-me-in"
        body = json.dumps({"applications": APPLICATIONS} if is_known else {}).encode()
        self.send_response(200 if is_known else 401)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""


@pytest.fixture
def dashboard():
    server = HTTPServer(("127.0.0.1", 0), Dashboard)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def log(tmp_path, dashboard, monkeypatch):
    """The log of a `serve run` whose Ray has its dashboard on another port than usual."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    path = tmp_path / "serve.log"
    path.write_text(
        f"Started a local Ray instance. View the dashboard at \x1b[1m{dashboard} \x1b[0m"
    )
    return path


def test_lanes_whose_replica_says_so_are_warming(log, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "let-me-in")
    state = ServeState("http://127.0.0.1:9", log)
    state.logs.mkdir(parents=True)
    (state.logs / "replica_chat_1.log").write_text(f"INFO lane 'chat' {WARMS}\n")
    (state.logs / "replica_quality_1.log").write_text("INFO Started initializing replica.\n")
    seen = state.look()
    assert seen.applications == APPLICATIONS
    assert seen.warming == {"lane:chat"}


def test_the_token_is_read_from_its_file(log, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    (tmp_path / "token").write_text("let-me-in\n")
    assert ServeState("http://127.0.0.1:9", log).look().applications == APPLICATIONS


@pytest.mark.security
@pytest.mark.parametrize("whose", ["another's", "untold"])
def test_the_token_goes_to_our_own_dashboard_alone(log, monkeypatch, whose):
    """Whoever listens there; where Ray's log tells of none, nobody is asked."""
    asked = []
    monkeypatch.setenv("RAY_AUTH_TOKEN", "let-me-in")
    monkeypatch.setattr(serve_state, "_get", lambda *a: asked.append(a))
    ServeState("http://127.0.0.1:9", log).look()
    assert len(asked) == 1
    if whose == "another's":
        monkeypatch.setattr(port_owner.os, "geteuid", lambda: os.getuid() + 4242)
        monkeypatch.setattr(port_owner, "ROOT", -1)
    else:
        log.write_text("Started a local Ray instance.")
    assert ServeState("http://127.0.0.1:9", log).look().applications == {}
    assert len(asked) == 1


def test_nothing_is_seen_of_who_does_not_answer(log, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    state = ServeState("http://127.0.0.1:9", log)
    assert state.look().applications == {}
    assert not state.is_ready()
