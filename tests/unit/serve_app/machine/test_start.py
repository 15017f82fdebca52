"""`make serve` up to the end of `serve run`, which a script stands in for."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from serve_app.machine.screen import Screen
from serve_app.machine.start import Start, bound, main, url_of

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EMBEDDED_IS_NOT_USED = "applications: []\n"


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in ENDS}
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


def test_a_taken_port_is_told_before_anything_starts(tmp_path, capsys, monkeypatch):
    """The log of who has it stays where it is."""
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path))
    monkeypatch.delenv("POINTSMAN_URL", raising=False)
    (tmp_path / "serve.log").write_text("of another")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = tmp_path / "serve.yaml"
        config.write_text(f"{EMBEDDED_IS_NOT_USED}http_options: {{port: {port}}}\n")
        assert main([str(config)]) == 1
    said = capsys.readouterr().out
    assert f"port {port} is taken by " in said
    assert f"(process {os.getpid()}): is Pointsman running already?" in said
    assert [x.name for x in tmp_path.glob("serve.log*")] == ["serve.log"]


def test_a_state_directory_that_cannot_be_made_is_told(tmp_path, capsys, monkeypatch, free_url):
    (tmp_path / "file").touch()
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path / "file" / "state"))
    monkeypatch.setenv("POINTSMAN_URL", free_url)

    assert main([]) == 1
    assert f"did not start: [Errno 20] Not a directory: '{tmp_path}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("http_options: {port: 8100}", 8100),
        *((x, 8000) for x in ("a: 1", "- a", "{", "", "http_options: 5")),
        *((f"http_options: {x}", 8000) for x in ("", "{}", "{port: x}", "{port: null}")),
    ],
)
def test_where_it_answers_is_in_its_configuration(tmp_path, text, port):
    """What cannot be read is told by who reads it for more."""
    config = tmp_path / "serve.yaml"
    config.write_text(text)

    assert url_of(str(config)) == f"http://127.0.0.1:{port}"
    assert url_of(str(tmp_path / "missing.yaml")) == "http://127.0.0.1:8000"


def test_a_reader_that_goes_away_does_not_end_it():
    """`make serve | head`."""
    code = (
        "import time; from serve_app.machine.screen import Screen; screen = Screen()\n"
        "for n in range(100): screen.say(str(n)); time.sleep(0.001)"
    )
    shown = subprocess.run(
        f"{sys.executable} -c '{code}' | head -1; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (shown.stdout, shown.stderr, shown.returncode) == ("0\n", "", 0)


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


@pytest.mark.parametrize("number", ENDS)
def test_term_interrupts_serve_whose_shutdown_is_waited_for(
    begin, tmp_path, capsys, ready_once_up, monkeypatch, number
):
    """Whatever is sent, however often; a background job's must not have inherited a deaf ear."""
    monkeypatch.setenv("POINTSMAN_INSTALL_MS", "1500")
    done = tmp_path / "done"
    asked = f"trap 'trap \"rm {done}; exit 9\" INT; touch {done}; sleep 0.3; exit 0' INT"
    serve = f"{asked}\ntouch {tmp_path}/up\nwhile true; do sleep 0.1; done"
    screen_says = Screen.say

    def say(self: Screen, *lines: str) -> None:
        screen_says(self, *lines)
        if any("is ready at" in line for line in lines):
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)

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


def test_an_interrupted_start_is_no_failure(begin, tmp_path, capsys, free_url):
    """`serve run` is told, and shuts down what there is."""
    up = tmp_path / "up"

    def interrupt() -> None:
        until(up.exists)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    shuts_down = "trap 'echo shutting down; exit 0' INT"
    assert begin(free_url, f"{shuts_down}; touch {up}; while true; do sleep 0.1; done") == 130
    thread.join()
    assert "did not start" not in capsys.readouterr().out


def test_serve_is_interrupted_when_who_shows_it_is_killed(tmp_path, free_url):
    """Nothing is left behind that holds the port."""
    done, up = tmp_path / "done", tmp_path / "up"
    script, config = tmp_path / "serve", tmp_path / "serve.yaml"
    script.write_text(f"#!/bin/bash\ntrap 'touch {done}; exit' INT\ntouch {up}\nsleep 60 & wait\n")
    script.chmod(0o755)
    config.write_text(EMBEDDED_IS_NOT_USED)
    (tmp_path / "serve.log").touch()
    code = (
        "from pathlib import Path; from serve_app.machine.start import Screen, Start\n"
        f"Start({str(config)!r}, {free_url!r}, Path({str(tmp_path / 'serve.log')!r}), Screen(), "
        f"Path({str(script)!r})).run()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL) as shown:
        until(up.exists)
        shown.kill()
    until(done.exists)


def until(check) -> None:
    deadline = time.monotonic() + 30
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.security
def test_a_machine_that_others_can_get_into_is_told_before_anything_starts(
    tmp_path, capsys, monkeypatch, free_url
):
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path))
    monkeypatch.setenv("POINTSMAN_URL", free_url)
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o700)
    shared.chmod(0o777)
    monkeypatch.setenv("POINTSMAN_RUN", str(shared))
    assert main([]) == 1
    assert f"did not start: {shared} is open to others" in capsys.readouterr().out
    assert not list(tmp_path.glob("serve.log*"))


def test_a_log_that_gets_long_begins_anew_under_its_writers(tmp_path, monkeypatch):
    monkeypatch.setattr("serve_app.machine.start.MAX_LOG_BYTES", 100)
    log = tmp_path / "serve.log"
    log.touch(mode=0o600)
    with log.open("ab", buffering=0) as writer:
        for number in range(10):
            writer.write(b"%d" % number * 60)
            bound(log)
            assert log.stat().st_size <= 100
        writer.write(b"end")
    assert log.read_bytes() == b"end"
    assert log.with_name("serve.log.1").read_bytes() == b"8" * 60 + b"9" * 60
    assert oct(log.with_name("serve.log.1").stat().st_mode)[-3:] == "600"


def test_what_it_starts_makes_files_for_nobody_else(begin, free_url, tmp_path):
    begin(free_url, f"touch {tmp_path}/made; mkdir {tmp_path}/folder; exit 1")
    modes = [(tmp_path / name).stat().st_mode & 0o077 for name in ("made", "folder")]
    assert modes == [0, 0]
