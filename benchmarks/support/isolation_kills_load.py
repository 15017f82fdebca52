"""Clients that count what they were answered: the count that usage is held against."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

FLUSH_S = 1.0
"""What an interrupted request delivered before this is in the store: a flush every 0.5 s, and
as long again for one that is under way on a busy machine."""

MAX_TOKENS = (20, 40, 60, 200)
MAX_WORDS = 40
MAX_PROMPT_TOKENS = 2 * MAX_WORDS + 40
"""No prompt here is longer, nor reckoned longer where the engine did not say."""


@dataclass
class Tally:
    """One tenant's requests as its clients saw them.

    Attributes:
        finished: requests, prompt and completion tokens of answers that were whole.
        interrupted: that ended in an error or a broken connection.
        refused: 429: no engine worked on them.
        at_least: completion tokens that interrupted requests had delivered a flush
            before they broke.
        seen: completion tokens that they had delivered at all.
        at_most: completion tokens that they had asked for.

    """

    finished: Counter[str] = field(default_factory=Counter)
    interrupted: int = 0
    refused: int = 0
    at_least: int = 0
    seen: int = 0
    at_most: int = 0

    def note_whole(self, usage: Mapping[str, Any]) -> None:
        """An answer that was whole, with the engine's count."""
        self.finished["requests"] += 1
        self.finished["prompt"] += usage["prompt_tokens"]
        self.finished["completion"] += usage["completion_tokens"]

    def note_broken(self, max_tokens: int, times: list[float], broke_at: float) -> None:
        """One that was not; `times`: when each of its tokens came."""
        self.interrupted += 1
        self.seen += len(times)
        self.at_least += sum(at < broke_at - FLUSH_S for at in times)
        self.at_most += max_tokens


class Clients:
    """A closed loop of clients for each tenant."""

    def __init__(self, url: str, keys: Mapping[str, str], each: int, seed: int = 1) -> None:
        self.url, self.keys, self.each = url, keys, each
        self.tallies = {tenant: Tally() for tenant in keys}
        self._random = random.Random(seed)
        self._names = itertools.count()
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession | None = None

    @property
    def ended(self) -> int:
        """Requests that were answered or broken off."""
        return sum(x.finished["requests"] + x.interrupted for x in self.tallies.values())

    def start(self) -> None:
        self.tallies = {tenant: Tally() for tenant in self.keys}
        self._stopping = False
        timeout = aiohttp.ClientTimeout(total=60)
        self._session = aiohttp.ClientSession(timeout=timeout)
        self._tasks = [
            asyncio.create_task(self._loop(tenant))
            for tenant in self.keys
            for _ in range(self.each)
        ]

    async def stop(self) -> dict[str, Tally]:
        """Let everybody finish; what they saw."""
        self._stopping = True
        await asyncio.gather(*self._tasks)
        assert self._session is not None
        await self._session.close()
        return self.tallies

    async def _loop(self, tenant: str) -> None:
        while not self._stopping:
            await self._ask(tenant)
            await asyncio.sleep(self._random.uniform(0, 0.1))

    async def _ask(self, tenant: str) -> None:
        assert self._session is not None
        stream = self._random.random() < 0.7
        body: dict[str, Any] = {
            "model": "chat",
            "messages": [
                {"role": "user", "content": "word " * self._random.randrange(3, MAX_WORDS)}
            ],
            "max_tokens": self._random.choice(MAX_TOKENS),
            "stream": stream,
        }
        if stream:
            body["stream_options"] = {"include_usage": True}
        headers = {
            "authorization": f"Bearer {self.keys[tenant]}",
            "x-session-id": f"kills-{next(self._names)}",
        }
        tally, times = self.tallies[tenant], list[float]()
        usage: dict[str, Any] | None = None
        try:
            target = f"{self.url}/v1/chat/completions"
            async with self._session.post(target, json=body, headers=headers) as response:
                if response.status == 429:
                    tally.refused += 1
                    return
                if response.status == 200:
                    usage = await (_streamed(response, times) if stream else _whole(response))
        except (aiohttp.ClientError, OSError, TimeoutError):
            usage = None
        if usage is None:
            tally.note_broken(body["max_tokens"], times, time.monotonic())
        else:
            tally.note_whole(usage)


async def _whole(response: aiohttp.ClientResponse) -> dict[str, Any]:
    usage: dict[str, Any] = orjson.loads(await response.read())["usage"]
    return usage


async def _streamed(response: aiohttp.ClientResponse, times: list[float]) -> dict[str, Any] | None:
    """The usage of a stream that came with its end mark; None: it did not."""
    usage: dict[str, Any] | None = None
    async for line in response.content:
        if line.startswith(b"data: [DONE]"):
            return usage
        if line.startswith(b"data: {"):
            event = orjson.loads(line[6:])
            if "error" in event:
                return None
            usage = event.get("usage") or usage
            times.extend(time.monotonic() for _ in _tokens(event))
    return None


def _tokens(event: dict[str, Any]) -> Iterator[str]:
    """The simulated engine's tokens in an event: a word each."""
    for choice in event.get("choices", ()):
        yield from (choice["delta"].get("content") or "").split()
