"""Walls of a running deployment, tried with raw bytes, at the frontend and at the ingress."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import socket
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from benchmarks.support.deployment import pids_of
from tests.e2e.support import chat, eventually, new_key

pytestmark = pytest.mark.security

PATIENCE_S = 20.0
QUIET_S = 0.3
"""After so long of silence a connection that is kept is left; nothing hangs on it."""

CLOSE = b"connection: close"
BODY = json.dumps(chat("x", max_tokens=1)).encode()
LENGTH = b"content-length: %d\r\n" % len(BODY)
JSON = b"content-type: application/json\r\n"
HOST = b"host: 127.0.0.1:8000\r\n"
CHAT = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST + JSON

Ask = Callable[..., bytes]

numbers = itertools.count()


def listening(pid: int) -> list[int]:
    """Ports of IPv4 that a process listens at, as the kernel has them."""
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            name = str(fd.readlink())
        except OSError:
            continue
        inodes.add(name.removeprefix("socket:[").removesuffix("]"))
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return [int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A" and row[9] in inodes]


def ask_at(port: int, raw: bytes, quiet_s: float = PATIENCE_S) -> bytes:
    """All that is answered to these bytes, until the other side closes or says no more."""
    said = b""
    # Whoever refuses may close before all was read, and one that waits for more says nothing.
    with (
        socket.create_connection(("127.0.0.1", port), timeout=quiet_s) as connection,
        contextlib.suppress(ConnectionError, TimeoutError),
    ):
        connection.sendall(raw)
        while part := connection.recv(65_536):
            said += part
    return said


def statuses(said: bytes) -> list[int]:
    """Of every answer on a connection."""
    return [int(part[1:4]) for part in said.split(b"HTTP/1.1")[1:] if part[:1] == b" "]


@pytest.fixture(scope="module")
def doors(simulated: str) -> dict[str, int]:
    """Ports where requests come in: the frontend's, and where HAProxy reaches one replica."""
    found = [p for pid in pids_of("ServeReplica:pointsman:ingress") for p in listening(pid)]
    inner = [port for port in found if 30_000 <= port <= 31_000]
    assert inner
    return {"frontend": int(simulated.rsplit(":", 1)[1]), "ingress": inner[0]}


@pytest.fixture(params=["frontend", "ingress"])
def ask(doors: dict[str, int], request: pytest.FixtureRequest) -> Ask:
    """Sends bytes to either door."""
    port = doors[request.param]
    return functools.partial(ask_at, port)


def get(target: bytes, *headers: bytes, host: bytes = HOST) -> bytes:
    lines = b"".join(line + b"\r\n" for line in headers)
    return b"GET " + target + b" HTTP/1.1\r\n" + host + lines + b"\r\n"


# -- one request is one request -----------------------------------------------------------


CHUNKS = b"transfer-encoding: chunked\r\n"


def chunked(*, line: bytes = CHUNKS, size: bytes = b"") -> bytes:
    return CHAT + line + b"\r\n" + (size or b"%x" % len(BODY)) + b"\r\n" + BODY + b"\r\n0\r\n\r\n"


def hidden(head: bytes, body: bytes = b"0\r\n\r\n") -> Callable[[bytes], bytes]:
    """A request in whose body another stands: whoever reads its length otherwise answers both."""

    def make(inner: bytes) -> bytes:
        whole = body + inner
        length = b"content-length: %d\r\n" % len(whole)
        return CHAT + head.replace(b"LENGTH", length.strip()) + b"\r\n" + whole

    return make


def after(*lines: bytes, body: bytes = BODY) -> Callable[[bytes], bytes]:
    """A request whose head is not one, with another behind it."""
    return lambda inner: CHAT + b"".join(lines) + b"\r\n" + body + inner


SMUGGLED = {
    "length and chunks": hidden(b"LENGTH\r\ntransfer-encoding: chunked\r\n"),
    "chunks and length": lambda inner: (
        CHAT
        + b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n"
        + b"%x\r\n%b\r\n0\r\n\r\n" % (len(inner), inner)
    ),
    "a space before the colon": hidden(b"LENGTH\r\ntransfer-encoding : chunked\r\n"),
    "a tab before the colon": hidden(b"LENGTH\r\ntransfer-encoding\t: chunked\r\n"),
    "xchunked": hidden(b"LENGTH\r\ntransfer-encoding: xchunked\r\n"),
    "chunked twice": hidden(
        b"LENGTH\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"
    ),
    "identity": hidden(b"LENGTH\r\ntransfer-encoding: identity\r\ntransfer-encoding: chunked\r\n"),
    "a vertical tab": hidden(b"LENGTH\r\ntransfer-encoding: \x0bchunked\r\n"),
    "quoted": hidden(b'LENGTH\r\ntransfer-encoding: "chunked"\r\n'),
    "a bare LF": hidden(b"LENGTH\r\nx: y\ntransfer-encoding: chunked\r\n"),
    "a bare CR": hidden(b"LENGTH\r\nx: y\rtransfer-encoding: chunked\r\n"),
    "folded": hidden(b"LENGTH\r\ntransfer-encoding:\r\n chunked\r\n"),
    "folded elsewhere": hidden(b"LENGTH\r\nx: y\r\n transfer-encoding: chunked\r\n"),
    "two lengths": after(LENGTH, b"content-length: 0\r\n"),
    "two lengths in one": after(b"content-length: %d, 0\r\n" % len(BODY)),
    "a length with a sign": after(b"content-length: +%d\r\n" % len(BODY)),
    "a negative length": after(b"content-length: -1\r\n"),
    "a length in hexadecimal": after(b"content-length: 0x%x\r\n" % len(BODY)),
    "a length past 64 bits": after(b"content-length: %d\r\n" % (2**64 + len(BODY))),
    "NUL in a header": after(b"x: a\0b\r\n", LENGTH),
    "NUL in a name": after(b"x\0: a\r\n", LENGTH),
    "a name with a space": after(b"content-length : 0\r\n", LENGTH),
    "a line without colon": after(b"x\r\n", LENGTH),
    **{
        f"a chunk of size {size!r}": lambda inner, size=size: chunked(size=size) + inner
        for size in (
            *(
                b"+%x" % len(BODY),
                b"-1",
                b"-%x" % len(BODY),
                b"0x%x" % len(BODY),
                b"_%x" % len(BODY),
            ),
            *(b"1" + b"0" * 16, b"f" * 17, b"g", b" %x" % len(BODY), b"%x\n" % len(BODY)),
            *(
                b"%x;a\n" % len(BODY),
                b"%x\r" % len(BODY),
                b"%x " % len(BODY) * 2,
            ),
        )
    },
    "a chunk that lacks its end": lambda inner: (
        CHAT + b"transfer-encoding: chunked\r\n\r\n%x\r\n" % len(BODY) + BODY + b"0\r\n\r\n" + inner
    ),
    "a chunk that is longer than said": lambda inner: (
        CHAT + b"transfer-encoding: chunked\r\n\r\n1\r\n" + BODY + b"\r\n0\r\n\r\n" + inner
    ),
    "a trailer that is none": lambda inner: (
        chunked()[:-2] + b"content-length: 0\r\nx: y\nGET / HTTP/1.1\r\n\r\n" + inner
    ),
}
"""Requests that two readers may take for different ones. Each is given one more to hide."""


@pytest.mark.parametrize("how", SMUGGLED)
def test_a_request_that_is_hidden_in_another_is_nobody_s_answer(
    doors: dict[str, int], ask: Ask, how: str
) -> None:
    """Who comes next hears the answer to what they asked."""
    marker = b"smuggled-%d" % next(numbers)
    inner = CHAT + b"x-request-id: %b\r\n%b\r\n%b" % (marker, LENGTH, BODY)

    said = ask(SMUGGLED[how](inner), quiet_s=QUIET_S)

    for turn in range(3):
        mine = b"victim-%d-%b" % (turn, marker)
        answer = ask_at(doors["frontend"], get(b"/v1/models", b"x-request-id: " + mine, CLOSE))
        assert statuses(answer) == [200]
        assert mine in answer and marker not in answer.replace(mine, b"")
    assert marker not in said
    assert len(statuses(said)) <= 1


opened: set[bytes] = set()
"""Request ids of the requests in the open that were answered."""


def two_in_one(ask: Ask) -> list[bytes]:
    """Request ids of those answered when two came in one piece."""
    ids = [b"open-%d" % next(numbers) for _ in range(2)]
    heads = [CHAT + b"x-request-id: " + x + b"\r\n" for x in ids]
    said = ask(
        heads[0] + LENGTH + b"\r\n" + BODY + heads[1] + CLOSE + b"\r\n" + LENGTH + b"\r\n" + BODY
    )
    answered = [x for x in ids if x in said]
    assert statuses(said) == [200] * len(answered)
    # Who hands over to a successor says so in the first answer, and takes no second.
    assert answered == ids or (answered == ids[:1] and said.count(CLOSE) == 1)
    opened.update(answered)
    return answered


def test_requests_one_after_the_other_are_each_answered_once(ask: Ask) -> None:
    """What the tests above are held against: two in the open, and chunks as they should be."""
    eventually(lambda: len(two_in_one(ask)) == 2)

    by_chunks = ask(chunked(size=b"%x;name=value" % len(BODY), line=CHUNKS + CLOSE + b"\r\n"))

    assert statuses(by_chunks) == [200]


def test_no_hidden_request_was_served(ask: Ask) -> None:
    """By what the deployment keeps of every request that ended: those in the open are there."""
    path = Path(os.environ["POINTSMAN_STATE"]) / "feedback.db"

    def kept(prefix: str) -> set[bytes]:
        query = "SELECT request_id FROM requests WHERE request_id LIKE ?"
        with contextlib.closing(sqlite3.connect(path)) as db:
            return {row[0].encode() for row in db.execute(query, (f"{prefix}-%",))}

    two_in_one(ask)
    eventually(lambda: kept("open") == opened)
    assert kept("smuggled") == set()


# -- one door -----------------------------------------------------------------------------

ENGINE_S = [
    *("tokenize", "detokenize", "pooling", "score", "rerank"),
    *("classify", "invocations", "ping", "version", "load", "server_info"),
    *("sleep", "wake_up", "is_sleeping", "reset_prefix_cache", "collective_rpc", "pause"),
    *("start_profile", "stop_profile", "v1/load_lora_adapter", "v1/unload_lora_adapter", "docs"),
    *("v1/audio/transcriptions", "inference/v1/generate", "v1/realtime", "redoc", "metrics/x"),
    *("simulated/faults", "v1/chat/completions/render", "v1/completions/render", "abort_requests"),
]


@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_no_route_of_an_engine_s_is_behind_the_front(ask: Ask, method: bytes) -> None:
    """Whatever it is called: all of them are unknown here."""
    for path in ENGINE_S:
        head = method + b" /" + path.encode() + b" HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n"
        [status] = statuses(ask(head + LENGTH + b"\r\n" + BODY))
        assert status in (404, 405), path


@pytest.mark.parametrize(
    "target",
    [
        *(
            b"/v1/../tokenize",
            b"/../../tokenize",
            b"/v1/%2e%2e/tokenize",
            b"/%2e%2e/%2e%2e/version",
        ),
        *(
            b"/v1/..%2ftokenize",
            b"/v1%2f..%2ftokenize",
            b"//tokenize",
            b"///version",
            b"/./version",
        ),
        *(b"//127.0.0.1:8265/api/version", b"/v1/chat/completions/../../tokenize", b"/;/version"),
        *(b"/v1/models/..;/version", b"/v1/models;/../version", b"/%00/version", b"/version%00"),
        *(
            b"/version%2f",
            b"/%2fversion",
            b"/\\version",
            b"/%5cversion",
            b"/v1/models/../../version",
        ),
        *(b"/v1/chat/completions%2f..%2ftokenize", b"/version?/v1/models", b"/%252e%252e/version"),
        *(b"http://127.0.0.1:8265/api/version", b"http://evil.example/version", b"/-/x/../version"),
        *(b"https://127.0.0.1:8000/version", b"file:///etc/passwd", b"127.0.0.1:8265", b"*", b"x"),
    ],
)
def test_no_spelling_of_a_path_is_a_way_to_an_engine(ask: Ask, target: bytes) -> None:
    """A path is compared, never resolved or passed on."""
    said = ask(get(target, CLOSE))

    assert statuses(said)[:1] != [200], said
    assert not statuses(said) or 400 <= statuses(said)[0] < 500
    assert b"0.29" not in said and b"root:" not in said and b"ray_version" not in said


def test_every_engine_asks_for_the_secret_on_every_path(simulated: str) -> None:
    """At its own port, and whatever it is called; nothing in the process answers without."""
    secret = (Path(os.environ["POINTSMAN_STATE"]) / "endpoint-secret").read_text().strip()
    wrong = [(), (b"x-pointsman-endpoint: x",), (b"x_pointsman_endpoint: " + secret.encode(),)]
    wrong += [(b"authorization: Bearer " + secret.encode(),), (b"x-pointsman-endpoint:",)]
    guarded, pids = 0, pids_of("ServeReplica:pointsman:lane:")
    for pid in pids:
        for port in listening(pid):
            right = (b"x-pointsman-endpoint: " + secret.encode(), CLOSE)
            is_engine = statuses(ask_at(port, get(b"/health", *right))) == [200]
            guarded += is_engine
            for path, lines in itertools.product((b"/health", b"/metrics", b"/version"), wrong):
                found = statuses(ask_at(port, get(path, *lines, CLOSE)))
                assert found == [401] if is_engine else 200 not in found
    assert guarded == len(pids) >= 5


# -- who asks -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (b"", 400),
        (HOST + b"host: evil.example\r\n", 400),
        (b"host: evil.example\r\n", 401),
        (b"host: 127.0.0.1.evil.example\r\n", 401),
        (b"host: user@127.0.0.1:8000\r\n", 401),
        (b"host: evil.example@127.0.0.1\r\n", 401),
        (b"host: 127.0.0.1, evil.example\r\n", 401),
        (b"host: 127.0.0.1/x\r\n", 401),
        (b"host: \r\n", 401),
        (b"host: 0.0.0.0\r\n", 401),
        (b"host: localhost:8000\r\n", 200),
        (b"host: [::1]:8000\r\n", 200),
    ],
)
def test_a_name_that_is_not_this_machine_s_needs_a_key(
    ask: Ask, host: bytes, expected: int
) -> None:
    """Rebinding ends at the Host; one that no server should take is 400."""
    [status] = statuses(ask(get(b"/v1/models", CLOSE, host=host)))

    assert status in {expected, 400} if expected == 401 else status == expected


@pytest.mark.parametrize(
    "line",
    [
        *(
            b"origin: null",
            b"origin: https://evil.example",
            b"origin: http://localhost.evil.example",
        ),
        *(
            b"origin: http://127.0.0.1@evil.example",
            b"origin: http://localhost, http://evil.example",
        ),
        *(b"origin: ", b"via: 1.1 x", b"x-forwarded-for: 127.0.0.1", b"forwarded: for=127.0.0.1"),
    ],
)
def test_a_page_or_a_proxy_needs_a_key(ask: Ask, line: bytes) -> None:
    """Keyless is someone at this machine, and nobody behind them."""
    said = ask(get(b"/v1/models", line, CLOSE))

    assert statuses(said) == [401]
    assert b"access-control-allow-origin" not in said.lower()


@pytest.fixture(scope="module")
def two(simulated: str, tenants_file: Path) -> list[dict[str, str]]:
    """Two tenants' keys, as headers."""
    return [new_key(tenants_file, f"walled-{x}", "open", simulated) for x in "ab"]


def test_a_request_of_another_tenant_s_is_not_there(simulated: str, two) -> None:
    """For feedback: in the words for one that never was; nor by naming the tenant."""
    request_id = f"theirs-{next(numbers)}"
    url = f"{simulated}/v1/feedback"
    thumb = {"request_id": request_id, "thumb": "up"}
    with httpx.Client(timeout=60) as http:
        headers = two[0] | {"x-request-id": request_id}
        body = chat("x", max_tokens=1)
        assert http.post(f"{simulated}/v1/chat/completions", json=body, headers=headers).is_success
        other = http.post(url, json=thumb, headers=two[1])
        named = http.post(url, json=thumb, headers=two[1] | {"x-tenant-id": "walled-a"})
        never = http.post(url, json={**thumb, "request_id": "never"}, headers=two[1])
        eventually(lambda: http.post(url, json=thumb, headers=two[0]).status_code == 200)

    assert [x.status_code for x in (other, named, never)] == [404] * 3
    assert other.json() == named.json() == never.json()


def test_a_chat_of_another_tenant_s_is_not_there(simulated: str, two) -> None:
    """On a socket: neither to resume nor to cancel, with its token too."""
    url = simulated.replace("http://", "ws://") + "/v1/chat/ws"
    with connect(url, additional_headers=two[0]) as mine:
        body = chat("x", max_tokens=200)
        mine.send(json.dumps({"id": "a", "type": "chat", "body": body}))
        token = json.loads(mine.recv(timeout=PATIENCE_S))["resume"]
        with connect(url, additional_headers=two[1]) as theirs:
            for frame in ({"type": "resume", "after": 0}, {"type": "cancel"}):
                for extra in ({}, {"resume": token}):
                    theirs.send(json.dumps({"id": "a", **frame, **extra}))
            theirs.send(json.dumps({"id": "b", "type": "chat", "body": chat("x", max_tokens=1)}))
            heard: list[dict] = []
            while not heard or (heard[-1]["id"], heard[-1]["type"]) != ("b", "done"):
                heard.append(json.loads(theirs.recv(timeout=PATIENCE_S)))
        frame = json.loads(mine.recv(timeout=PATIENCE_S))

    assert {x["type"] for x in heard if x["id"] == "a"} <= {"error"}
    assert frame["id"] == "a" and frame["type"] == "chunk"


# -- what lies about ----------------------------------------------------------------------


def _logs() -> Iterator[Path]:
    """Ray's log files of this deployment, wherever its directory is."""
    [raylet, *_] = pids_of("raylet/raylet ")
    words = Path(f"/proc/{raylet}/cmdline").read_bytes().decode().split("\0")
    [folder] = {
        x.partition("=")[2] for x in words if x.startswith(("--session_dir=", "--session-dir="))
    }
    yield from (path for path in Path(folder, "logs").rglob("*") if path.is_file())


def test_no_log_and_no_command_line_has_a_secret(simulated: str, two) -> None:
    """Neither a tenant's key nor what the engines ask for."""
    secrets = [x["authorization"].removeprefix("Bearer ").split("-", 2)[2].encode() for x in two]
    secrets.append((Path(os.environ["POINTSMAN_STATE"]) / "endpoint-secret").read_bytes().strip())
    found = list(_logs())
    said = subprocess.run(["ps", "-eo", "args", "ww"], capture_output=True, check=True).stdout

    assert len(found) > 10 and b"ServeReplica" in said
    for secret in secrets:
        assert secret not in said
        assert [path for path in found if secret in path.read_bytes()] == []


def test_what_a_running_deployment_keeps_is_its_owner_s_alone(simulated: str) -> None:
    """The state directory with all in it, and the directory of HAProxy's files."""
    state, run = Path(os.environ["POINTSMAN_STATE"]), Path(os.environ["POINTSMAN_RUN"])
    kept = {path: path.stat().st_mode for path in state.rglob("*")}

    assert {"endpoint-secret", "tenancy.db", "feedback.db"} <= {path.name for path in kept}
    assert {str(path): oct(mode) for path, mode in kept.items() if mode & 0o077} == {}
    assert stat.S_IMODE(run.stat().st_mode) == 0o700
