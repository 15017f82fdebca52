"""One redeploy under everything that can be open: who drains, who closes, who breaks off."""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

from benchmarks.support.deployment import pids_of
from tests.e2e.streams import (
    CHAT,
    COMPLETIONS,
    MESSAGES,
    RESPONSES,
    Stream,
    begin,
    events,
    form,
    text_of,
)
from tests.e2e.support import REPLACED_S, await_all, chat, eventually, is_idle, redeploy

pytestmark = pytest.mark.busy

REPLICA = "ray::ServeReplica:pointsman:"
REPLACED = ("ingress", "lane:chat", "lane:quality", "ledger")

TOKENS = 1300
"""Of a stream that is waited for: 26 s, so that the redeploy meets it."""

GREEDY = {"model": "chat", "temperature": 0}

ENDLESS = 3500
"""Of one that outlasts its lane's `drain_s`: as long on a card, which is faster."""


class SocketChat(threading.Thread):
    """A chat that is resumed wherever its socket closes, and cancelled when there is enough."""

    def __init__(self, url: str, asked: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self.frames: list[dict[str, Any]] = []
        self.closed: list[int] = []
        self.enough = threading.Event()
        self._address = url.replace("http://", "ws://") + "/v1/chat/ws"
        self._opening: dict[str, Any] = {"type": "chat", "body": asked}

    @property
    def words(self) -> list[str]:
        return text_of(x["data"] for x in self.frames if x["type"] == "chunk").split()

    def run(self) -> None:
        while not self._has_ended:
            with contextlib.suppress(OSError, InvalidHandshake):
                self._read_on()
            if self.frames:
                after, token = self.frames[-1]["seq"], self.frames[0]["resume"]
                self._opening = {"type": "resume", "after": after, "resume": token}

    @property
    def _has_ended(self) -> bool:
        return bool(self.frames) and self.frames[-1]["type"] != "chunk"

    def _read_on(self) -> None:
        with connect(self._address, open_timeout=30) as ws:
            try:
                ws.send(json.dumps({"id": "long", **self._opening}))
                while not self._has_ended:
                    if self.enough.is_set():
                        ws.send(json.dumps({"id": "long", "type": "cancel"}))
                        self.enough.clear()
                    self.frames.append(json.loads(ws.recv(timeout=30)))
            except ConnectionClosed as error:
                self.closed.append(error.rcvd.code if error.rcvd else 1006)


class Knocking(threading.Thread):
    """A short request after the other, each over a connection of its own, or all over one."""

    def __init__(self, url: str, *, keeps: bool) -> None:
        super().__init__(daemon=True)
        self.enough = threading.Event()
        self.answered, self.faults = 0, list[str]()
        self._url, self._most = f"{url}/health", 1 if keeps else 0

    def run(self) -> None:
        limits = httpx.Limits(max_keepalive_connections=self._most)
        with httpx.Client(timeout=60, limits=limits) as client:
            while not self.enough.wait(0.02):
                try:
                    client.get(self._url)
                    self.answered += 1
                except httpx.HTTPError as error:
                    self.faults.append(repr(error))


def processes() -> dict[str, set[int]]:
    """The processes of every deployment."""
    return {name: set(pids_of(REPLICA + name)) for name in REPLACED}


@pytest.fixture(scope="module")
def changed(simulated: str, simulated_file: Path) -> Path:
    """The fleet file with another lane in it: the engine's time to its first token."""
    fleet = yaml.safe_load(simulated_file.read_text())
    fleet["lanes"]["chat"]["simulated"]["ttft_s"] = 0.03
    simulated_file.write_text(yaml.safe_dump(fleet))
    return simulated_file


def test_a_redeploy_cuts_nothing_that_may_be_waited_for(
    simulated: str, changed: Path, tenants_file: Path, http: httpx.Client, tmp_path: Path
) -> None:
    """A new `revision` replaces every process; each kind of stream ends as it should.

    Answers over HTTP are waited for, and no connection is reset. A socket is closed with 1012,
    and what it still generates is read through another ingress replica. On a lane that waits
    for `drain_s` only, what lasts longer goes on elsewhere or says why not.
    """
    # A test before this one may have ended one: who drains is known to who was there before.
    await_all(http, simulated, ingresses=2)
    before = processes()
    paths = [CHAT] * 13 + [COMPLETIONS, MESSAGES, RESPONSES]
    waited_for = [
        Stream(simulated, path, form(path, f"tell {n}", TOKENS, **GREEDY), f"open-{n}")
        for n, path in enumerate(paths)
    ]
    asked = form(CHAT, "tell all", ENDLESS, model="quality")
    broken_off = [Stream(simulated, CHAT, asked, f"long-{n}") for n in range(4)]
    socket = SocketChat(simulated, chat("tell 0", max_tokens=16_000, **GREEDY))
    socket.start()
    begin([*waited_for, *broken_off])
    eventually(lambda: socket.frames)

    knocking = [Knocking(simulated, keeps=keeps) for keeps in (True, False)]
    for thread in knocking:
        thread.start()
    redeploy(tmp_path, changed, tenants_file, revision="second")
    eventually(lambda: socket.closed, within_s=REPLACED_S)
    read = len(socket.frames)
    eventually(lambda: len(socket.frames) > read + 50, within_s=REPLACED_S)
    socket.enough.set()
    for thread in (socket, *waited_for, *broken_off):
        thread.join(REPLACED_S)

    assert [len(x.words) for x in waited_for] == [TOKENS] * len(paths)
    assert all(x.is_whole for x in waited_for)
    for stream in broken_off:
        is_whole = stream.is_whole and len(stream.words) == ENDLESS
        assert is_whole or '"code":"no_replica"' in events(stream.text)[-1]
    assert [x["seq"] for x in socket.frames] == list(range(1, len(socket.frames) + 1))
    assert socket.frames[-1]["cancelled"]
    assert set(socket.closed) == {1012}
    # Of one prompt there is one greedy answer.
    assert all(x == y for x, y in zip(socket.words, waited_for[0].words, strict=False))

    def is_replaced() -> bool:
        return not any(before[name] & now for name, now in processes().items())

    eventually(is_replaced, within_s=REPLACED_S, every_s=0.5)
    await_all(http, simulated, ingresses=2)
    for thread in knocking:
        thread.enough.set()
        thread.join(REPLACED_S)
    assert all(x.answered > 100 for x in knocking)
    assert [x.faults for x in knocking] == [[], []]
    eventually(lambda: is_idle(http, simulated), every_s=0.5)
    assert http.get(f"{simulated}/ready").status_code == 200
