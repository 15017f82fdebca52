"""`make serve` up to the end of `serve run`, which a script stands in for."""

import os
import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from serve_app.start import Screen, Start

EMBEDDED_IS_NOT_USED = "applications: []\n"


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def free_url():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def begin(tmp_path):
    config = tmp_path / "serve.yaml"
    config.write_text(EMBEDDED_IS_NOT_USED)

    def start(url: str, serve: str, config: Path = config) -> int:
        script = tmp_path / "serve"
        script.write_text(f"#!/bin/bash\n{serve}\n")
        script.chmod(0o755)
        log = tmp_path / "serve.log"
        log.touch()
        return Start(str(config), url, log, Screen(), script).run()

    return start


def test_a_taken_port_is_told_before_anything_starts(begin, tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert begin(f"http://127.0.0.1:{port}", f"touch {tmp_path}/started") == 1
    said = capsys.readouterr().out
    assert f"port {port} is taken" in said
    assert not (tmp_path / "started").exists()


def test_a_fleet_that_does_not_exist_is_told_before_anything_starts(
    begin, tmp_path, capsys, free_url
):
    config = tmp_path / "wrong.yaml"
    config.write_text("applications: [{name: a, args: {fleet: nowhere}}]\n")
    assert begin(free_url, f"touch {tmp_path}/started", config) == 1
    said = capsys.readouterr().out
    assert "nowhere.yaml" in said
    assert str(tmp_path / "serve.log") in said
    assert not (tmp_path / "started").exists()


def test_a_serve_that_ends_is_told_with_its_cause_and_the_log(begin, tmp_path, capsys, free_url):
    assert begin(free_url, "echo 'RuntimeError: no room' >&2; exit 3") == 1
    said = capsys.readouterr().out
    assert "did not start: RuntimeError: no room" in said
    assert f"Look at {tmp_path / 'serve.log'}" in said
    assert "\x1b" not in said


class Ready(BaseHTTPRequestHandler):
    """`/ready` of a deployment that is."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""


@pytest.fixture
def ready_once_up(free_url, tmp_path):
    """Answers from when the stand-in has made the file `up`; leaves a file `seen`."""
    port = int(free_url.rpartition(":")[2])
    is_over = threading.Event()

    class Once(Ready):
        def do_GET(self) -> None:
            (tmp_path / "seen").touch()
            super().do_GET()

    def serve() -> None:
        while not (tmp_path / "up").exists():
            if is_over.wait(0.02):
                return
        with HTTPServer(("127.0.0.1", port), Once) as server:
            server.timeout = 0.05
            while not is_over.is_set():
                server.handle_request()

    thread = threading.Thread(target=serve)
    thread.start()
    yield free_url
    is_over.set()
    thread.join()


def test_term_interrupts_serve_whose_shutdown_is_waited_for(
    begin, tmp_path, capsys, ready_once_up, monkeypatch
):
    """As Ctrl-C does; a background job's `serve run` must not have inherited a deaf ear."""
    monkeypatch.setenv("POINTSMAN_INSTALL_MS", "1500")
    done = tmp_path / "done"
    asked = f"trap 'sleep 0.3; touch {done}; exit 0' INT"
    serve = f"{asked}\ntouch {tmp_path}/up\nwhile true; do sleep 0.1; done"
    screen_says = Screen.say

    def say(self: Screen, *lines: str) -> None:
        screen_says(self, *lines)
        if any("is ready at" in line for line in lines):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Screen, "say", say)
    assert begin(ready_once_up, serve) == 0
    assert done.exists()
    said = capsys.readouterr().out
    assert said.index("dependencies") < said.index("model") < said.index("is ready at")
    assert "1.5 s" in said
    assert "\x1b" not in said


def test_a_deployment_that_ends_by_itself_ends_the_command_badly(
    begin, tmp_path, capsys, ready_once_up
):
    serve = f"touch {tmp_path}/up; until [ -e {tmp_path}/seen ]; do sleep 0.05; done; exit 7"
    assert begin(ready_once_up, serve) == 1
    assert "has ended (7)" in capsys.readouterr().out


def test_an_interrupted_start_is_no_failure(begin, capsys, free_url):
    """`serve run` has the terminal's signal, too, and shuts down what there is."""
    timer = threading.Timer(3.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    assert begin(free_url, "sleep 5; echo shutting down; exit 0") == 130
    timer.join()
    assert "did not start" not in capsys.readouterr().out
