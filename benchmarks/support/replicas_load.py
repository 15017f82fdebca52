"""Clients of `benchmarks.ingress_replicas`: each counts what it was given, and by whom."""

from __future__ import annotations

import asyncio
import itertools
import time
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

PROMPT = "Please summarize our refund policy for an enterprise customer. " * 8
TOKEN = b'"delta":{"content":"'
PAUSE_S = 1.5
"""Between an answer and its session's next turn: lane replicas publish once a second."""

SETTLE_S = 3.0
"""Of a tenant over its ceiling: what its first seconds had is not judged."""


@dataclass
class Told:
    """What clients were answered.

    Attributes:
        prompt, completion: tokens by tenant, as the final event of each stream says.
        bytes: of streams' bodies, as HTTP gives them, without its framing.
        refused: answers 429 by tenant.
        broken: requests that ended in anything else than a whole answer or a 429.
        times: when each token of a tenant came that notes it, on the monotonic clock.
        open_at_once: the most streams of a tenant that had begun and not ended.
        places: by session, the lane replica of each turn.

    """

    requests: Counter[str] = field(default_factory=Counter)
    prompt: Counter[str] = field(default_factory=Counter)
    completion: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    broken: int = 0
    times: list[float] = field(default_factory=list)
    open: int = 0
    open_at_once: int = 0
    places: dict[str, list[str]] = field(default_factory=dict)

    def note_usage(self, tenant: str, usage: dict[str, Any]) -> None:
        self.requests[tenant] += 1
        self.prompt[tenant] += usage["prompt_tokens"]
        self.completion[tenant] += usage["completion_tokens"]

    def affinity(self) -> tuple[int, int]:
        """Turns after a session's first, and those where the turn before was."""
        pairs = [p for places in self.places.values() for p in itertools.pairwise(places)]
        return len(pairs), sum(a == b for a, b in pairs)


class Clients:
    """Clients of one deployment, by tenant. What they are told adds up in `told`."""

    def __init__(self, url: str, keys: dict[str, str]) -> None:
        self._url = f"{url}/v1/chat/completions"
        self._keys = keys
        self._number = itertools.count()
        self.told = Told()

    def _session(self, *, keeps: bool = True) -> aiohttp.ClientSession:
        """`keeps`: one connection for all its requests; else a new one for each."""
        connector = aiohttp.TCPConnector(limit=0, force_close=not keeps)
        return aiohttp.ClientSession(connector=connector)

    async def streams(self, tenant: str, streams: int, each: int, tokens: int) -> None:
        """`each` streams on each of so many connections, which begin within a second."""

        async def client(number: int) -> None:
            async with self._session() as session:
                await asyncio.sleep(number / streams)
                for _ in range(each):
                    await self._stream(session, tenant, tokens)

        await asyncio.gather(*(client(number) for number in range(streams)))

    async def whole_answers(self, tenant: str, clients: int, each: int) -> None:
        """Requests that are not streamed, two tokens each."""

        async def client() -> None:
            async with self._session() as session:
                for _ in range(each):
                    await self._whole(session, tenant)

        await asyncio.gather(*(client() for _ in range(clients)))

    async def over_ceiling(self, tenant: str, streams: int, tokens: int, until: float) -> None:
        """Streams one after the other until a time, each on a connection of its own."""

        async def client() -> None:
            async with self._session(keeps=False) as session:
                while time.monotonic() < until:
                    wait = await self._stream(session, tenant, tokens, times=self.told.times)
                    await asyncio.sleep(min(wait, 1.0))

        await asyncio.gather(*(client() for _ in range(streams)))

    async def over_permits(self, tenant: str, clients: int, tokens: int, until: float) -> None:
        """More clients than may be answered at once."""

        async def client() -> None:
            async with self._session(keeps=False) as session:
                while time.monotonic() < until:
                    wait = await self._stream(session, tenant, tokens, counts_open=True)
                    await asyncio.sleep(min(wait, 0.5))

        await asyncio.gather(*(client() for _ in range(clients)))

    async def sessions(self, tenant: str, sessions: int, turns: int, tokens: int) -> None:
        """Sessions that grow by 700 tokens a turn, each by a connection of its own."""

        async def one(name: str) -> None:
            messages: list[dict[str, str]] = []
            async with self._session(keeps=False) as session:
                for _ in range(turns):
                    messages = [*messages, {"role": "user", "content": f"{name}: {4 * PROMPT}"}]
                    await self._stream(session, tenant, tokens, name=name, messages=messages)
                    messages += [{"role": "assistant", "content": 4 * PROMPT}]
                    await asyncio.sleep(PAUSE_S)

        begun = next(self._number)
        await asyncio.gather(*(one(f"s{begun}-{number}") for number in range(sessions)))

    # -- one request ----------------------------------------------------------------

    def _asked(
        self,
        tenant: str,
        tokens: int,
        name: str,
        messages: list[dict[str, str]] | None = None,
        *,
        stream: bool,
    ) -> dict[str, Any]:
        content = f"{next(self._number)}: {PROMPT}"
        body: dict[str, Any] = {
            "model": "auto",
            "messages": messages or [{"role": "user", "content": content}],
            "stream": stream,
            "max_tokens": tokens,
            "min_tokens": tokens,
        }
        if stream:
            body["stream_options"] = {"include_usage": True}
        headers = {"authorization": f"Bearer {self._keys[tenant]}"}
        if name:
            headers |= {"x-session-id": name, "x-pointsman-debug": "1"}
        return {"json": body, "headers": headers}

    async def _whole(self, session: aiohttp.ClientSession, tenant: str) -> None:
        try:
            asked = self._asked(tenant, 2, "", stream=False)
            async with session.post(self._url, **asked) as response:
                answer = orjson.loads(await response.read())
                self.told.note_usage(tenant, answer["usage"])
        except (aiohttp.ClientError, OSError, TimeoutError, KeyError):
            self.told.broken += 1

    async def _stream(
        self,
        session: aiohttp.ClientSession,
        tenant: str,
        tokens: int,
        *,
        name: str = "",
        messages: list[dict[str, str]] | None = None,
        times: list[float] | None = None,
        counts_open: bool = False,
    ) -> float:
        """One stream to its end; seconds to wait before the next one: not 0 where refused."""
        told, tail = self.told, b""
        asked = self._asked(tenant, tokens, name, messages, stream=True)
        try:
            async with session.post(self._url, **asked) as response:
                if response.status == 429:
                    told.refused[tenant] += 1
                    return float(response.headers.get("retry-after", 0.2))
                if name:
                    place = response.headers["x-pointsman-replica"]
                    told.places.setdefault(name, []).append(place)
                told.open += counts_open
                told.open_at_once = max(told.open_at_once, told.open)
                try:
                    async for chunk in response.content.iter_any():
                        # A mark may lie over the edge of two chunks; none is in the edge alone.
                        edge = tail[1 - len(TOKEN) :] + chunk
                        if times is not None and (count := edge.count(TOKEN)):
                            times += [time.monotonic()] * count
                        tail = (tail + chunk)[-2048:]
                        told.bytes += len(chunk)
                finally:
                    told.open -= counts_open
            told.note_usage(tenant, _usage(tail))
        except (aiohttp.ClientError, OSError, TimeoutError, KeyError, ValueError):
            told.broken += 1
        return 0.0


def _usage(tail: bytes) -> dict[str, Any]:
    """What the last event but the end mark says. Raises ValueError, KeyError."""
    events = [x[6:] for x in tail.split(b"\n\n")[1:] if x.startswith(b"data: ")]
    if len(events) < 2 or events[-1] != b"[DONE]":
        raise ValueError("the stream broke off")
    usage: dict[str, Any] = orjson.loads(events[-2])["usage"]
    return usage


async def longest_stall_s(until: float) -> float:
    """The longest that this process's event loop stood still until a time.

    What was read late because of that is counted in a later second than it came in.
    """
    longest, every = 0.0, 0.01
    while (now := time.monotonic()) < until:
        await asyncio.sleep(every)
        longest = max(longest, time.monotonic() - now - every)
    return longest


def per_second(times: list[float], since: float, until: float) -> dict[str, float]:
    """Tokens in the fullest second, in the fullest five on the mean, and the mean of all."""
    inside = sorted(x for x in times if since <= x < until)
    span = until - since

    def fullest(seconds: float) -> float:
        ends = (bisect_left(inside, at + seconds) - n for n, at in enumerate(inside))
        return max(ends, default=0) / seconds

    return {
        "fullest_1_s": fullest(1.0),
        "fullest_5_s_mean": fullest(5.0),
        "mean": len(inside) / span,
    }
