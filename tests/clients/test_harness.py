"""The harness itself: what it records, how it isolates, and that all versions are pinned."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httptools
import pyarrow as pa
import pytest

from simulator.script.model import load_script
from tests.clients.recorder import Exchange, Recorder, _read, decoded
from tests.clients.servers import TASK
from tests.clients.setups import CLIENTS, HERE

ROOT = HERE.parents[1]


class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(b"{}")

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["content-length"])))

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(body) or 5))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def port() -> Any:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def _ask(path: Path, sent: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(str(path))
        channel.sendall(sent)
        channel.shutdown(socket.SHUT_WR)
        while channel.recv(65536):
            pass


def test_every_exchange_of_a_connection_is_kept(tmp_path: Path, port: int) -> None:
    body = b'{"a": 1}'
    head = b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n"
    post = b"POST /v1/x?y=1 HTTP/1.1\r\nHost: x\r\nX-A: b\r\ncontent-length: 8\r\n\r\n" + body
    with Recorder(tmp_path / "socket", port) as recorder:
        _ask(tmp_path / "socket", head + post + b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        first, second, third = recorder.exchanges()
    assert (first.method, first.status) == ("HEAD", 200)
    assert (second.method, second.path, second.status) == ("POST", "/v1/x", 200)
    assert second.headers["x-a"] == "b" and second.json() == {"a": 1} and second.answer == body
    assert (third.method, third.answer) == ("GET", b"{}")


def test_an_answer_that_the_client_left_is_told_as_far_as_it_came() -> None:
    told = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n"
    assert _read(httptools.HttpResponseParser, told)[0][0::4] == (200, b"ok")
    assert _read(httptools.HttpResponseParser, told[:20]) == []


def test_a_server_that_is_not_there_leaves_the_answer_out(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with Recorder(tmp_path / "socket", free.getsockname()[1]) as recorder:
            _ask(tmp_path / "socket", b"")
            assert recorder.exchanges() == []


def test_compressed_bodies_are_read() -> None:
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "zstd") as stream:
        stream.write(b'{"a": 1}')
    raw = packed.getvalue().to_pybytes()
    assert decoded(raw, "zstd") == b'{"a": 1}'
    assert Exchange(headers={"content-encoding": "zstd"}, body=raw).json() == {"a": 1}


def test_a_client_reaches_the_server_and_nothing_else(tmp_path: Path, port: int) -> None:
    unshare = [shutil.which("unshare") or "unshare", "--user", "--map-root-user", "--net"]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no network namespaces here")
    other = socket.create_server(("127.0.0.1", 0))
    program = (
        "import socket, urllib.request\n"
        "print(urllib.request.urlopen('http://127.0.0.1:8000').read().decode())\n"
        f"print(socket.socket().connect_ex(('127.0.0.1', {other.getsockname()[1]})))\n"
    )
    sandbox = [sys.executable, str(HERE / "sandbox.py"), str(tmp_path / "socket"), "8000"]
    with other, Recorder(tmp_path / "socket", port) as recorder:
        done = subprocess.run(
            [*unshare, *sandbox, sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert [x.status for x in recorder.exchanges()] == [200]
    answer, refused = done.stdout.split()
    assert answer == "{}" and int(refused) != 0


def test_versions_are_pinned_and_no_lock_names_a_registry() -> None:
    wanted = json.loads((HERE / "npm/package.json").read_text())["dependencies"]
    text = (HERE / "npm/package-lock.json").read_text()
    locked = json.loads(text)["packages"]
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    python = (ROOT / "requirements/clients.txt").read_text()
    assert not re.search(r"https?://\S*(npm|pypi)", text + python)
    for client in CLIENTS:
        assert re.fullmatch(r"\d+\.\d+\.\d+", client.version()), client.name


def test_the_task_is_a_script() -> None:
    assert load_script(TASK).turns
