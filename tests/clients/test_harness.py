"""The harness itself: what it records, how it isolates, and that all versions are pinned."""

from __future__ import annotations

import asyncio
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

from serve_app.commands.connect_recipes import RECIPES
from simulator.script.model import load_script
from tests.clients.forced import checked
from tests.clients.kills import MOST_DELAY_S, MOST_EVENTS, Loss, Replicas
from tests.clients.recorder import Exchange, Recorder, _read, decoded
from tests.clients.servers import TASK
from tests.clients.setups import CLIENTS, HERE, PRINTED

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


def test_who_answers_is_asked_for_where_somebody_watches(tmp_path: Path, port: int) -> None:
    seen: list[bytes] = []
    body = b"POST /v1/not-a-head HTTP/1.1"
    sent = b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    with Recorder(tmp_path / "socket", port, lambda: seen.append) as recorder:
        _ask(tmp_path / "socket", sent)
        (exchange,) = recorder.exchanges()
    assert exchange.headers["x-pointsman-debug"] == "1" and exchange.body == body
    assert b"".join(seen).endswith(body)


class _Killable(Replicas):
    """Replicas of which two serve; a kill is noted."""

    def loaded(self) -> dict[str, int]:
        return {"a1": 1, "b2": 2}

    def kill(self, name: str) -> bool:
        self.killed += name in self.loaded()
        return name in self.loaded()


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-pointsman-replica: %b\r\n\r\n"


async def _streamed(loss: Loss, *pieces: bytes) -> None:
    see = loss.watch()
    for piece in pieces:
        see(piece)
    await asyncio.sleep(2 * MOST_DELAY_S)


@pytest.mark.parametrize("number", range(8))
async def test_a_run_loses_the_replica_of_one_stream_once(number: int) -> None:
    replicas = _Killable()
    loss = Loss(replicas, f"client {number}")

    for _ in range(3):
        await _streamed(loss, HEAD % b"a1", *[b"data: {}\n\n"] * MOST_EVENTS)

    assert (loss.hit, replicas.killed) == (1, 1)


@pytest.mark.parametrize(
    "pieces",
    [
        (HEAD % b"a1", b"data: {}\n\n" * MOST_EVENTS + b"data: [DONE]\n\n"),
        (HEAD % b"gone", b"data: {}\n\n" * MOST_EVENTS),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", b"data: {}\n\n" * MOST_EVENTS),
    ],
    ids=["over", "another's", "whole"],
)
async def test_what_is_no_open_stream_is_not_hit(pieces: tuple[bytes, ...]) -> None:
    loss = Loss(_Killable(), "client")

    for _ in range(3):
        await _streamed(loss, *pieces)

    assert loss.hit == 0


def test_all_that_is_set_up_is_set_up_as_it_is_printed() -> None:
    """No client of the harness has a configuration of its own."""
    assert set(PRINTED) <= {recipe.name for recipe in RECIPES}
    hello = {client.name.removeprefix("connect-") for client in CLIENTS if client.does == "hello"}
    assert hello == set(PRINTED) - {"claude-code", "codex", "opencode"}


WRONG = [{"room": "attic", "percent": 50}, {"room": "study"}, {"room": "study", "percent": "0"}]


@pytest.mark.parametrize("given", WRONG)
def test_a_forced_call_that_its_schema_does_not_allow_is_none(given: dict[str, Any]) -> None:
    assert checked("set_lamp", {"room": "study", "percent": 0}).startswith("called set_lamp {")
    with pytest.raises(AssertionError):
        checked("set_lamp", given)


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
