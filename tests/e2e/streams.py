"""Streams of real engines that have to end whole, whatever happens meanwhile."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.support.deployment import pids_of
from tests.e2e.replicas import CHAT, QUALITY
from tests.e2e.support import await_two_chat_replicas, chat, eventually, redeploy

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


@dataclass(frozen=True)
class Redeploy:
    """A redeploy that has begun under open streams; these have ended.

    Attributes:
        before: processes of the replicas that it replaces.
        usages: what each stream counted.

    """

    before: set[int]
    usages: list[dict[str, int]]


def redeploy_under_streams(url: str, fleet: Path, tenants: Path, folder: Path) -> Redeploy:
    """Replace every engine under six streams of 300 tokens."""
    with httpx.Client(timeout=60) as http:
        await_two_chat_replicas(http, url)
    before = {*pids_of(CHAT), *pids_of(QUALITY)}
    begun: list[str] = []
    with ThreadPoolExecutor(len(STORIES)) as pool:
        reading = [pool.submit(streamed, url, body, 300, begun) for body in STORIES]
        eventually(lambda: len(begun) == len(STORIES))
        redeploy(folder, fleet, tenants, revision="drained")
        return Redeploy(before, [future.result()[1] for future in reading])
