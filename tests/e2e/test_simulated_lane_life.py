"""A replica's life: warm-up, silence, death."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import httpx
import pytest

from benchmarks.support.deployment import admin_headers, pids_of
from serve_app.watchdog.watchdog import members
from tests.e2e.streams import CHAT, Stream, begin, form
from tests.e2e.support import (
    LISTENS,
    REPLACED_S,
    await_all,
    await_two,
    chat,
    eventually,
    replicas_of,
)

pytestmark = pytest.mark.busy

QUALITY = "ray::ServeReplica:pointsman:lane:quality"
INGRESS = "ray::ServeReplica:pointsman:ingress"
SYSTEM = "You are the assistant of a shop that sells bicycles. " * 40


def test_a_new_replica_knows_the_hot_prefixes(simulated: str, http: httpx.Client) -> None:
    """After a crash the first request that it serves finds its system prompt cached."""
    asked = chat("Which one?", max_tokens=1) | {"model": "quality"}
    asked["messages"].insert(0, {"role": "system", "content": SYSTEM})

    def ask(session: str) -> str:
        headers = {"x-session-id": session, "x-pointsman-debug": "1"}
        with httpx.Client(timeout=60) as own:
            answer = own.post(f"{simulated}{CHAT}", json=asked, headers=headers)
        assert answer.status_code == 200
        return answer.headers["x-pointsman-replica"]

    before = set(await_two(http, simulated, "quality"))
    for number in range(8):
        ask(f"hot-{number}")

    os.kill(pids_of(QUALITY)[0], signal.SIGKILL)

    def newcomer() -> str:
        fresh = set(replicas_of(http, simulated, "quality")) - before
        return fresh.pop() if fresh else ""

    def rows() -> dict | None:
        return replicas_of(http, simulated, "quality").get(new)

    new = eventually(newcomer, within_s=REPLACED_S, every_s=0.5)
    hits = eventually(rows)["prefix_cache_hits"]
    session = next(f"try-{n}" for n in range(100) if ask(f"try-{n}") == new)
    assert session
    # The block size is 16, a word of it a token or more.
    assert eventually(rows)["prefix_cache_hits"] - hits > len(SYSTEM.split()) // 2


def test_stopped_replicas_are_replaced(simulated: str, http: httpx.Client) -> None:
    """SIGSTOP of a lane's and of an ingress: neither Serve's patience nor its grace is waited for.

    What the ingress replica holds breaks off instead of hanging; all else goes on. New
    connections do not wait for it, which HAProxy would send there for seven seconds.
    """
    await_all(http, simulated, ingresses=2)
    lane, doors = set(await_two(http, simulated, "quality")), set(pids_of(INGRESS))
    assert len(doors) == 2
    asked = form(CHAT, "tell", 1500, model="quality")
    streams = [Stream(simulated, CHAT, asked, f"stop-{n}") for n in range(4)]
    begin(streams)

    actor, door = pids_of(QUALITY)[0], doors.pop()
    os.kill(actor, signal.SIGSTOP)
    os.kill(door, signal.SIGSTOP)
    if LISTENS:
        body = chat("hello", max_tokens=1) | {"model": "chat"}
        asked_anew = [httpx.post(f"{simulated}{CHAT}", json=body, timeout=8) for _ in range(20)]
        assert [answer.status_code for answer in asked_anew] == [200] * 20
        assert Path(f"/proc/{door}").exists()
    eventually(lambda: not Path(f"/proc/{actor}").exists() and not members(actor))
    eventually(lambda: not Path(f"/proc/{door}").exists())
    # Sooner than a client gives up by itself.
    eventually(lambda: any(not x.is_alive() and not x.is_whole for x in streams))
    for stream in streams:
        stream.join(REPLACED_S)

    assert all(len(x.words) == 1500 for x in streams if x.is_whole)
    eventually(
        lambda: len(now := set(pids_of(INGRESS))) == 2 and now > doors,
        within_s=REPLACED_S,
        every_s=0.5,
    )
    eventually(
        lambda: len(now := set(replicas_of(http, simulated, "quality"))) == 2 and now != lane,
        within_s=REPLACED_S,
        every_s=0.5,
    )
    await_all(http, simulated, ingresses=2)
    for name in ("chat", "quality"):
        again = chat("again", max_tokens=2) | {"model": name}
        assert http.post(f"{simulated}{CHAT}", json=again).status_code == 200


def test_a_replica_that_is_drained_to_its_end_breaks_nothing_off_and_is_replaced(
    simulated: str, http: httpx.Client
) -> None:
    """Its streams end as they would have; Serve starts another, which is not drained."""
    before = await_two(http, simulated, "chat")
    asked = form(CHAT, "tell", 200, model="chat")
    streams = [Stream(simulated, CHAT, asked, f"end-{n}") for n in range(6)]
    begin(streams)
    drained = max(before, key=lambda x: replicas_of(http, simulated, "chat")[x]["in_flight"])

    # Not the command: it takes a part of the streams' time to start.
    path = f"{simulated}/admin/replicas/{drained}/drain"
    told = http.post(path, json={"end": True}, headers=admin_headers()).json()
    for stream in streams:
        stream.join(REPLACED_S)

    assert told["ends"] and told["in_flight"] > 0
    assert all(x.is_whole and len(x.words) == 200 for x in streams)
    eventually(
        lambda: drained not in (now := replicas_of(http, simulated, "chat")) and len(now) == 2,
        within_s=REPLACED_S,
        every_s=0.5,
    )
    assert not any(x["draining"] for x in await_two(http, simulated, "chat").values())
