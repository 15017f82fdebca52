"""Streams on real engines that outlive what serves them: sockets, a kill, a redeploy."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import connect

from benchmarks.support.deployment import pids_of
from tests.e2e.support import (
    LOADED_S,
    await_two_chat_replicas,
    chat,
    eventually,
    is_idle,
    redeploy,
)

CHAT = "ray::ServeReplica:pointsman:lane:chat"
STORIES = [
    chat(f"Tell me a story about {what}.", model="chat", temperature=0, ignore_eos=True)
    for what in ("a fox", "the sea", "two kings", "a train", "rain", "an old clock")
]


def text_of(chunks: list[dict[str, Any]]) -> str:
    """What the deltas of a chat's chunks come to."""
    return "".join(
        choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]
    )


def streamed(
    url: str, body: dict[str, Any], tokens: int, begun: list[str] | None = None
) -> tuple[str, dict[str, Any]]:
    """Text and usage of a stream that has to end whole; its head is noted in `begun`."""
    more = {"max_tokens": tokens, "stream": True, "stream_options": {"include_usage": True}}
    with (
        httpx.Client(timeout=240) as own,
        own.stream("POST", f"{url}/v1/chat/completions", json={**body, **more}) as response,
    ):
        assert response.status_code == 200
        if begun is not None:
            # The head comes with the first token.
            begun.append(response.headers["x-request-id"])
        events = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert not any("error" in chunk for chunk in chunks)
    assert len({chunk["id"] for chunk in chunks}) == 1
    return text_of(chunks), chunks[-1]["usage"]


def resumed_streams(url: str, http: httpx.Client) -> float:
    """Streams that went on from another replica, as every ingress replica counts them."""
    families = text_string_to_metric_families(http.get(f"{url}/metrics").text)
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == "pointsman_stream_recoveries_total"
        and sample.labels["outcome"] == "resumed"
    )


def test_a_socket_says_what_http_says(real: str, http: httpx.Client) -> None:
    """Two chats on one socket, word for word; a cancelled third leaves the engine idle."""
    expected = [streamed(real, body, 24)[0] for body in STORIES[:2]]
    frames: dict[str, list[dict[str, Any]]] = {"0": [], "1": [], "long": []}

    with connect(f"{real.replace('http', 'ws')}/v1/chat/ws") as ws:
        for name, body, tokens in (
            ("0", STORIES[0], 24),
            ("1", STORIES[1], 24),
            ("long", STORIES[2], 1500),
        ):
            asked = {**body, "max_tokens": tokens}
            ws.send(json.dumps({"id": name, "type": "chat", "body": asked}))
        while any(not seen or seen[-1]["type"] == "chunk" for seen in frames.values()):
            frame = json.loads(ws.recv(timeout=60))
            frames[frame["id"]].append(frame)
            if frame["id"] == "long" and len(frames["long"]) == 3:
                ws.send(json.dumps({"id": "long", "type": "cancel"}))

    said = [text_of([f["data"] for f in frames[n] if f["type"] == "chunk"]) for n in ("0", "1")]
    assert said == expected
    assert frames["long"][-1]["cancelled"]
    eventually(lambda: is_idle(http, real))


@pytest.mark.timeout(1800)
def test_streams_of_a_killed_replica_are_resumed_word_for_word(
    real: str, http: httpx.Client
) -> None:
    """Six greedy streams over two replicas: text and usage are those of a quiet run."""
    await_two_chat_replicas(http, real)
    begun: list[str] = []
    resumed = resumed_streams(real, http)
    with concurrent.futures.ThreadPoolExecutor(len(STORIES)) as pool:
        undisturbed = list(pool.map(lambda body: streamed(real, body, 80), STORIES))
        reading = [pool.submit(streamed, real, body, 80, begun) for body in STORIES]
        eventually(lambda: len(begun) == len(STORIES))
        os.kill(pids_of(CHAT)[0], signal.SIGKILL)
        disturbed = [future.result() for future in reading]

    assert [text for text, _ in disturbed] == [text for text, _ in undisturbed]
    assert all(usage["completion_tokens"] == 80 for _, usage in disturbed)
    assert resumed_streams(real, http) > resumed
    await_two_chat_replicas(http, real)


@pytest.mark.timeout(2400)
def test_a_redeploy_lets_open_streams_end(
    real: str, http: httpx.Client, tenants_file: Path, tmp_path: Path
) -> None:
    """Every engine is replaced under six streams; each gets all of its tokens."""
    await_two_chat_replicas(http, real)
    before = set(pids_of(CHAT))
    begun: list[str] = []

    with concurrent.futures.ThreadPoolExecutor(len(STORIES)) as pool:
        reading = [pool.submit(streamed, real, body, 300, begun) for body in STORIES]
        eventually(lambda: len(begun) == len(STORIES))
        fleet = Path(__file__).parent / "fleet.yaml"
        redeploy(tmp_path, fleet, tenants_file, revision="drained")
        usages = [future.result()[1] for future in reading]

    assert all(usage["completion_tokens"] == 300 for usage in usages)
    eventually(lambda: not before & set(pids_of(CHAT)), within_s=LOADED_S, every_s=1)
    await_two_chat_replicas(http, real)
