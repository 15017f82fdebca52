"""Sockets to two ingress replicas over simulated engines."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.e2e.streams import text_of
from tests.e2e.support import (
    REPLACED_S,
    chat,
    eventually,
    is_idle,
    new_key,
    running,
    status_of,
)

pytestmark = pytest.mark.busy

DEBUG = {"x-pointsman-debug": "1"}
WAIT_S = 30


def address(url: str) -> str:
    return url.replace("http://", "ws://") + "/v1/chat/ws"


def ingress_of(ws: ClientConnection) -> str:
    return ws.response.headers["x-pointsman-ingress"]


@contextlib.contextmanager
def connected_elsewhere(url: str, than: str) -> Iterator[ClientConnection]:
    """A socket to another ingress replica than `than`.

    The balancer picks the one with the fewest connections: those that went to the same one
    stay open meanwhile. The other may be starting: a test before this one may have ended it.
    """
    deadline = time.monotonic() + REPLACED_S
    with contextlib.ExitStack() as sockets:
        while time.monotonic() < deadline:
            ws = sockets.enter_context(connect(address(url), additional_headers=DEBUG))
            if ingress_of(ws) != than:
                yield ws
                return
            time.sleep(0.5)
        pytest.fail(f"every socket of {REPLACED_S} s went to the same ingress replica")


def say(ws: ClientConnection, **frame: Any) -> None:
    ws.send(json.dumps(frame))


def begin(ws: ClientConnection, chat_id: str, tokens: int, text: str = "hello") -> None:
    say(ws, id=chat_id, type="chat", body=chat(text, max_tokens=tokens))


def hear(ws: ClientConnection) -> dict[str, Any]:
    frame = json.loads(ws.recv(timeout=WAIT_S))
    assert isinstance(frame, dict)
    return frame


def until_end(ws: ClientConnection, *chat_ids: str) -> dict[str, list[dict[str, Any]]]:
    """Frames of these chats, up to the last of each."""
    found: dict[str, list[dict[str, Any]]] = {chat_id: [] for chat_id in chat_ids}
    left = set(chat_ids)
    while left:
        frame = hear(ws)
        found[frame["id"]].append(frame)
        if frame["type"] != "chunk":
            left.discard(frame["id"])
    return found


def words(frames: list[dict[str, Any]]) -> int:
    return len(text_of(x["data"] for x in frames if x["type"] == "chunk").split())


@pytest.fixture(scope="module")
def idle_socket(simulated: str) -> Iterator[socket.socket]:
    """A socket that was opened by hand and says nothing."""
    host, port = simulated.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as raw:
        key = base64.b64encode(os.urandom(16)).decode()
        raw.sendall(
            f"GET /v1/chat/ws HTTP/1.1\r\nhost: {host}:{port}\r\nupgrade: websocket\r\n"
            f"connection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n"
            .encode()
        )  # fmt: skip
        raw.settimeout(WAIT_S)
        head = b""
        while b"\r\n\r\n" not in head:
            head += raw.recv(1)
        assert b" 101 " in head.splitlines()[0]
        yield raw


@pytest.mark.usefixtures("idle_socket")
def test_several_chats_and_a_cancel_on_one_socket(simulated: str, http: httpx.Client) -> None:
    """Each chat is whole and numbered; the cancelled one leaves nothing behind."""
    with connect(address(simulated)) as ws:
        for name in "abcde":
            begin(ws, name, tokens=30, text=f"chat {name}")
        begin(ws, "long", tokens=16_000)
        eventually(lambda: running(http, simulated) >= 1)
        say(ws, id="long", type="cancel")

        frames = until_end(ws, *"abcde", "long")

    for name in "abcde":
        assert [f["seq"] for f in frames[name]] == list(range(1, len(frames[name]) + 1))
        assert words(frames[name]) == 30
    assert frames["long"][-1]["cancelled"]
    eventually(lambda: is_idle(http, simulated))


@pytest.mark.parametrize("by", ["token", "id"])
def test_a_chat_is_resumed_through_another_ingress_replica(
    simulated: str, http: httpx.Client, by: str
) -> None:
    """The socket breaks; the rest comes over a new one, from a replica that relays it."""
    with connect(address(simulated), additional_headers=DEBUG) as ws:
        owner = ingress_of(ws)
        begin(ws, f"far {by}", tokens=200)
        begin(ws, f"near {by}", tokens=200)
        read: dict[str, list[dict[str, Any]]] = {f"far {by}": [], f"near {by}": []}
        while min(map(len, read.values())) < 10:
            frame = hear(ws)
            read[frame["id"]].append(frame)
        ws.socket.shutdown(socket.SHUT_RDWR)

    name = f"far {by}"
    token = {"resume": read[name][0]["resume"]} if by == "token" else {}
    with connected_elsewhere(simulated, than=owner) as ws:
        assert read[name][0]["resume"].startswith(f"{owner}.")
        say(ws, id=name, type="resume", after=read[name][-1]["seq"], **token)
        read[name] += until_end(ws, name)[name]
        far = ingress_of(ws)
    with connected_elsewhere(simulated, than=far) as ws:
        name = f"near {by}"
        say(ws, id=name, type="resume", after=read[name][-1]["seq"])
        read[name] += until_end(ws, name)[name]

    for frames in read.values():
        assert [f["seq"] for f in frames] == list(range(1, len(frames) + 1))
        assert words(frames) == 200
    eventually(lambda: is_idle(http, simulated))


def test_a_key_is_checked_before_the_socket_opens(
    simulated: str, http: httpx.Client, tenants_file: Path
) -> None:
    """As a subprotocol it is not echoed; a wrong one is 401 in the error form."""
    headers = new_key(tenants_file, "socketed", "open", simulated)
    key = headers["authorization"].removeprefix("Bearer ")

    with connect(address(simulated), subprotocols=["pointsman.v1", f"pointsman.key.{key}"]) as ws:
        begin(ws, "a", tokens=3)
        frames = until_end(ws, "a")["a"]
    with pytest.raises(InvalidStatus) as refused:
        connect(address(simulated), subprotocols=[f"pointsman.key.{key}x"])

    assert ws.subprotocol == "pointsman.v1"
    assert key not in str(ws.response.headers)
    assert words(frames) == 3
    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body)["error"]["code"] == "invalid_api_key"
    assert http.get(f"{simulated}/v1/models", headers=headers).status_code == 200


def test_limits_are_those_of_http(simulated: str, tenants_file: Path) -> None:
    """The same tenant, the same ceiling, the same code and headers."""
    headers = new_key(tenants_file, "socketed-small", "small", simulated)
    rounds = itertools.count()

    def nine_chats() -> list[dict[str, Any]] | None:
        """The last frames of nine at once; None: all refused, as nothing was leased in time."""
        names = [f"{next(rounds)}.{number}" for number in range(9)]
        with connect(address(simulated), additional_headers=headers) as ws:
            for name in names:
                begin(ws, name, tokens=120)
            ends = [frames[-1] for frames in until_end(ws, *names).values()]
        return ends if any(end["type"] != "error" for end in ends) else None

    refused = [end for end in eventually(nine_chats) if end["type"] == "error"]
    assert refused and len(refused) < 9
    assert {frame["error"]["code"] for frame in refused} == {"token_rate"}
    assert all(1 <= int(frame["headers"]["retry-after"]) <= 60 for frame in refused)


def test_an_idle_socket_is_pinged(idle_socket: socket.socket) -> None:
    """Within half of the usual 60 s idle limit, through HAProxy."""
    head = idle_socket.recv(2)

    assert head[0] == 0x89


def test_a_killed_owner_is_a_broken_stream(simulated: str, http: httpx.Client) -> None:
    """SIGKILL of the ingress replica: a retry is safe, says the answer to a resume."""
    with connect(address(simulated), additional_headers=DEBUG) as ws:
        owner = ingress_of(ws)
        begin(ws, "lost", tokens=16_000)
        first = hear(ws)
        with connected_elsewhere(simulated, than=owner) as other:
            say(other, id="lost", type="resume", after=1, resume=first["resume"])
            assert hear(other)["seq"] == 2
            victim = eventually(lambda: http_pid(http, simulated, owner))

            os.kill(victim, signal.SIGKILL)
            frames = until_end(other, "lost")["lost"]
            say(other, id="lost", type="resume", after=1, resume=first["resume"])
            again = hear(other)
        with contextlib.suppress(ConnectionClosed):
            ws.recv(timeout=WAIT_S)

    assert frames[-1]["error"]["code"] == again["error"]["code"] == "no_replica"
    eventually(lambda: is_idle(http, simulated), within_s=REPLACED_S, every_s=0.5)


def http_pid(http: httpx.Client, url: str, replica: str) -> int | None:
    """The process of an ingress replica, as it says itself."""
    rows = status_of(http, url).get("ingress", ())
    return next((row["pid"] for row in rows if row["replica"] == replica), None)
