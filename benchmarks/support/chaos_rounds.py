"""Streams over replicas that are ended: one reader, one deployment, one round."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from benchmarks.support.deployment import admin_headers, pids_of

STREAMS = 32
PROCESS = "ray::ServeReplica:pointsman:lane:chat"


@dataclass(frozen=True)
class Setting:
    """What the replicas are of.

    Attributes:
        name: of the fleet file, less its `_fleet.yaml`, and of the results.
        tokens: longest answer.
        back_s: within which a lost replica must be back and warm.

    """

    name: str
    replicas: int
    tokens: int
    back_s: float
    title: str
    engine: str

    @property
    def fleet(self) -> Path:
        return Path(__file__).with_name(f"{self.name}_fleet.yaml")


@dataclass
class Seen:
    """One stream as its reader saw it."""

    text: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    heads: set[tuple[Any, ...]] = field(default_factory=set)
    replica: str = ""
    error: str = ""
    is_whole: bool = False
    times: list[float] = field(default_factory=list)

    @property
    def span_s(self) -> float:
        """From the first event to the last."""
        return self.times[-1] - self.times[0]

    @property
    def longest_gap_s(self) -> float:
        """The longest silence between two events."""
        return max((b - a for a, b in zip(self.times, self.times[1:], strict=False)), default=0.0)

    def take(self, line: bytes) -> None:
        if line == b"data: [DONE]":
            self.is_whole = True
        elif line.startswith(b"data: {"):
            self.times.append(time.perf_counter())
            data = orjson.loads(line[6:])
            if "error" in data:
                self.error = data["error"]["code"]
                return
            self.heads.add((data["id"], data["created"], data["model"]))
            self.usage = data.get("usage") or self.usage
            for choice in data["choices"]:
                self.text += choice["delta"].get("content") or ""

    def counts_like(self, other: Seen) -> bool:
        names = ("prompt_tokens", "completion_tokens")
        return all(self.usage.get(name) == other.usage.get(name) for name in names)

    def is_like(self, other: Seen) -> bool:
        """Whether text and counts are the same, under one id."""
        return self.text == other.text and self.counts_like(other) and len(self.heads) == 1


@dataclass
class Chaos:
    """A deployment whose replicas are ended.

    Attributes:
        expected: what each request answered undisturbed.

    """

    session: aiohttp.ClientSession
    url: str
    setting: Setting
    expected: list[Seen] = field(default_factory=list)

    async def stream(self, number: int, seen: Seen) -> Seen:
        """One greedy stream, read to its end."""
        body = {
            "model": "chat",
            "messages": [{"role": "user", "content": f"Tell me story number {number}."}],
            "max_tokens": self.setting.tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        headers = {"x-session-id": f"story-{number}", "x-pointsman-debug": "1"}
        target = f"{self.url}/v1/chat/completions"
        try:
            async with self.session.post(target, json=body, headers=headers) as response:
                seen.replica = response.headers.get("x-pointsman-replica", "")
                if response.status != 200:
                    seen.error = str(response.status)
                async for line in response.content:
                    seen.take(line.rstrip())
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            seen.error = type(error).__name__
        return seen

    async def undisturbed(self) -> list[Seen]:
        """Every stream once, with nothing ended."""
        made = await asyncio.gather(*(self.stream(n, Seen()) for n in range(STREAMS)))
        if not all(seen.is_whole for seen in made):
            raise RuntimeError("the undisturbed run failed")
        return list(made)

    async def replicas(self) -> set[str]:
        """Ids of the chat replicas that answer."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, KeyError):
            url = f"{self.url}/status"
            async with self.session.get(url, headers=admin_headers()) as response:
                status = await response.json()
                return {r["replica"] for r in status["lanes"]["chat"]["replicas"]}
        return set()

    async def await_replicas(self, before: set[str]) -> set[str]:
        """The replicas once there are as many again, not all of them the same."""
        deadline = time.monotonic() + self.setting.back_s
        while time.monotonic() < deadline:
            now = await self.replicas()
            if len(now) == self.setting.replicas and now != before:
                return now
            await asyncio.sleep(0.5)
        raise RuntimeError("the replica did not return")

    async def one_round(self, how: signal.Signals) -> dict[str, Any]:
        """Open the streams, end a replica, read on."""
        before = await self.replicas()
        made = [Seen() for _ in range(STREAMS)]
        tasks = [asyncio.create_task(self.stream(n, seen)) for n, seen in enumerate(made)]
        while not all(seen.times or seen.error for seen in made):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        span = statistics.median(seen.span_s for seen in self.expected)
        await asyncio.sleep(random.uniform(0, 0.5 * span))
        live = [not seen.is_whole for seen in made]
        victim = random.choice(pids_of(PROCESS))
        os.kill(victim, how)
        await asyncio.gather(*tasks)
        with contextlib.suppress(ProcessLookupError):
            # A stopped one is ended, so that it can return.
            os.kill(victim, signal.SIGKILL)
        gone = before - await self.await_replicas(before)
        hit = [was_live and s.replica in gone for was_live, s in zip(live, made, strict=True)]
        return self._result(made, sum(live), hit)

    def _result(self, made: list[Seen], live: int, hit: list[bool]) -> dict[str, Any]:
        spared = max((s.longest_gap_s for s, h in zip(made, hit, strict=True) if not h), default=0)
        pairs = list(zip(made, self.expected, hit, strict=True))
        return {
            "live": live,
            "hit": sum(hit),
            "failed": sum(not seen.is_whole or bool(seen.error) for seen in made),
            "different": sum(not a.is_like(b) for a, b, _ in pairs),
            "different_hit": sum(h and not a.is_like(b) for a, b, h in pairs),
            "different_counts": sum(not a.counts_like(b) for a, b, _ in pairs),
            "gaps": [seen.longest_gap_s for seen, _, h in pairs if h],
            "spared_gap_s": spared,
        }
