"""A lane replica's life over simulated cards: warm-up, silence, redeploys."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.support.deployment import deployed, pids_of
from serve_app.watchdog.watchdog import members
from tests.e2e.support import (
    PATIENCE_S,
    REPLACED_S,
    await_all,
    await_two_chat_replicas,
    chat,
    chat_replicas,
    eventually,
    redeploy,
    words,
)

CHAT = "ray::ServeReplica:pointsman:lane:chat"
INGRESS = "ray::ServeReplica:pointsman:ingress"
FLEET = Path(__file__).parent / "simulated_cards.yaml"
SYSTEM = "You are the assistant of a shop that sells bicycles. " * 40


@pytest.fixture(scope="module")
def cards(tenants_file: Path) -> Iterator[str]:
    """Base URL of two simulated cards behind two ingress replicas."""
    with deployed(fleet=str(FLEET), tenants=str(tenants_file)) as url:
        with httpx.Client(timeout=60) as http:
            await_all(http, url, ingresses=2)
        yield url


class Stream(threading.Thread):
    """One streamed answer, read to its end whatever that is."""

    def __init__(self, url: str, number: int, tokens: int) -> None:
        super().__init__(daemon=True)
        self.text, self.begun = "", threading.Event()
        self._url, self._number, self._tokens = url, number, tokens

    @property
    def is_whole(self) -> bool:
        return self.text.endswith("data: [DONE]\n\n")

    def run(self) -> None:
        body = chat(f"tell {self._number}", stream=True, max_tokens=self._tokens)
        body |= {"ignore_eos": True}
        with (
            # How it ended is in its text.
            contextlib.suppress(httpx.HTTPError),
            httpx.Client(timeout=120) as http,
            http.stream(
                "POST",
                f"{self._url}/v1/chat/completions",
                json=body,
                headers={"x-session-id": f"stream-{self._number}"},
            ) as response,
        ):
            for part in response.iter_text():
                self.text += part
                self.begun.set()


def started(url: str, count: int, tokens: int) -> list[Stream]:
    streams = [Stream(url, number, tokens) for number in range(count)]
    for stream in streams:
        stream.start()
    for stream in streams:
        assert stream.begun.wait(PATIENCE_S)
    return streams


def test_a_new_replica_knows_the_hot_prefixes(cards: str, http: httpx.Client) -> None:
    """After a crash the first request that it serves finds its system prompt cached."""
    body = chat("Which one?", max_tokens=1)
    body["messages"].insert(0, {"role": "system", "content": SYSTEM})

    def ask(session: str) -> str:
        headers = {"x-session-id": session, "x-pointsman-debug": "1"}
        with httpx.Client(timeout=60) as own:
            answer = own.post(f"{cards}/v1/chat/completions", json=body, headers=headers)
        assert answer.status_code == 200
        return answer.headers["x-pointsman-replica"]

    before = set(await_two_chat_replicas(http, cards))
    for number in range(8):
        ask(f"hot-{number}")

    os.kill(pids_of(CHAT)[0], signal.SIGKILL)

    def newcomer() -> str:
        fresh = set(chat_replicas(http, cards)) - before
        return fresh.pop() if fresh else ""

    new = eventually(newcomer, within_s=REPLACED_S, every_s=0.5)
    hits = eventually(lambda: chat_replicas(http, cards).get(new))["prefix_cache_hits"]
    session = next(f"try-{n}" for n in range(100) if ask(f"try-{n}") == new)
    rows = eventually(lambda: chat_replicas(http, cards).get(new))
    assert session
    # The block size is 16, a word of it a token or more.
    assert rows["prefix_cache_hits"] - hits > len(SYSTEM.split()) // 2


def test_a_stopped_replica_is_replaced(cards: str, http: httpx.Client) -> None:
    """SIGSTOP: neither Serve's patience nor its grace period is waited for."""
    before = set(await_two_chat_replicas(http, cards))
    actor = pids_of(CHAT)[0]

    os.kill(actor, signal.SIGSTOP)
    eventually(lambda: not Path(f"/proc/{actor}").exists() and not members(actor))

    eventually(
        lambda: len(now := set(chat_replicas(http, cards))) == 2 and now != before,
        within_s=REPLACED_S,
        every_s=0.5,
    )


def test_a_stopped_ingress_replica_is_replaced(cards: str, http: httpx.Client) -> None:
    """SIGSTOP: what it holds breaks off instead of hanging, and another one comes."""
    await_all(http, cards, ingresses=2)
    before = set(pids_of(INGRESS))
    assert len(before) == 2
    streams = started(cards, 4, tokens=2000)

    stopped = before.pop()
    os.kill(stopped, signal.SIGSTOP)
    eventually(lambda: not Path(f"/proc/{stopped}").exists())
    # Sooner than a client gives up by itself.
    eventually(lambda: any(not x.is_alive() and not x.is_whole for x in streams))
    for stream in streams:
        stream.join(REPLACED_S)

    assert all(len(words(x.text)) == 2000 for x in streams if x.is_whole)
    eventually(
        lambda: len(now := set(pids_of(INGRESS))) == 2 and now > before,
        within_s=REPLACED_S,
        every_s=0.5,
    )
    await_all(http, cards, ingresses=2)
    answer = http.post(f"{cards}/v1/chat/completions", json=chat("again", max_tokens=2))
    assert answer.status_code == 200


def test_a_redeploy_under_open_streams_loses_none(
    cards: str, http: httpx.Client, tenants_file: Path, tmp_path: Path
) -> None:
    """A changed `revision`: the old replicas finish what they have begun."""
    before = set(await_two_chat_replicas(http, cards))
    streams = started(cards, 16, tokens=800)

    redeploy(tmp_path, FLEET, tenants_file, revision="second")
    for stream in streams:
        stream.join(120)

    assert [len(words(stream.text)) for stream in streams] == [800] * 16
    assert all(stream.text.endswith("data: [DONE]\n\n") for stream in streams)
    eventually(
        lambda: len(now := set(chat_replicas(http, cards))) == 2 and not before & now,
        within_s=REPLACED_S,
        every_s=0.5,
    )


def test_a_stream_that_outlasts_the_drain_ends_in_form(
    cards: str, http: httpx.Client, tenants_file: Path, tmp_path: Path
) -> None:
    """The old replica goes at its deadline; its stream goes on elsewhere or says why not."""
    await_two_chat_replicas(http, cards)
    actors = set(pids_of(CHAT))
    streams = started(cards, 4, tokens=7000)

    redeploy(tmp_path, FLEET, tenants_file, revision="third")
    eventually(lambda: not actors & set(pids_of(CHAT)), within_s=REPLACED_S, every_s=0.5)
    for stream in streams:
        stream.join(REPLACED_S)

    for stream in streams:
        events = [event for event in stream.text.split("\n\n") if event]
        is_whole = events[-1] == "data: [DONE]" and len(words(stream.text)) == 7000
        assert is_whole or '"code":"no_replica"' in events[-1]
