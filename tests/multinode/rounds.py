"""Streams over a cluster, one of whose nodes is lost; runs where the clients are."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from benchmarks.support.chaos_rounds import Seen
from tests.multinode.cluster import ALL_S, Cluster
from tests.multinode.network import Node

STREAMS = 40
TOKENS = 250
LANES = ("chat", "quality")
RESUMED = re.compile(
    r'^(pointsman_stream_recoveries_total\{.*outcome="resumed".*\}) (\S+)$', re.MULTILINE
)

NEW = 30
NEW_EVERY_S = 0.5
"""While a node is lost, a new session in each lane so often, and so many times."""

KEPT_S = 5.0
"""How long streams have run when a node is lost."""


@dataclass(frozen=True)
class Loss:
    """What is done to a node."""

    name: str
    node: Node
    lose: Callable[[], Any]


class Clients:
    """Streams through the frontends of several nodes, with one key."""

    def __init__(self, http: aiohttp.ClientSession, fronts: list[Node]) -> None:
        self.http, self._urls = http, [f"http://{node.address}:8000" for node in fronts]

    async def stream(self, number: int, seen: Seen, tokens: int = TOKENS) -> Seen:
        body = {
            "model": LANES[number % 2],
            "messages": [{"role": "user", "content": f"Tell me story number {number}."}],
            "max_tokens": tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        headers = {"x-session-id": f"story-{number}", "x-pointsman-debug": "1"}
        target = f"{self._urls[number // 2 % len(self._urls)]}/v1/chat/completions"
        try:
            async with self.http.post(target, json=body, headers=headers) as response:
                seen.replica = response.headers.get("x-pointsman-replica", "")
                if response.status != 200:
                    seen.error = f"{response.status} {(await response.text())[:200]}"
                async for line in response.content:
                    seen.take(line.rstrip())
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            seen.error = type(error).__name__
        return seen

    async def all_streams(self) -> list[Seen]:
        return list(await asyncio.gather(*(self.stream(n, Seen()) for n in range(STREAMS))))

    async def status(self) -> dict[str, Any]:
        """What one of the frontends says; {} where it does not answer."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, ValueError):
            quick = aiohttp.ClientTimeout(total=10)
            async with self.http.get(f"{self._urls[0]}/status", timeout=quick) as response:
                found: dict[str, Any] = await response.json()
                return found if response.status == 200 else {}
        return {}

    async def comes(self, number: int) -> tuple[bool, float]:
        """One short answer: whether it is whole, and seconds until it is."""
        begun = time.monotonic()
        seen = await self.stream(number, Seen(), tokens=5)
        return seen.is_whole, time.monotonic() - begun

    async def resumed(self) -> Counter[str]:
        """Streams that went on elsewhere so far, for each ingress replica that there is."""
        async with self.http.get(f"{self._urls[0]}/metrics") as response:
            text = await response.text()
        return Counter({series: int(float(value)) for series, value in RESUMED.findall(text)})

    async def replicas(self) -> dict[str, set[str]]:
        lanes = (await self.status()).get("lanes", {})
        return {name: {x["replica"] for x in lane["replicas"]} for name, lane in lanes.items()}

    async def ingresses(self) -> int:
        return len((await self.status()).get("ingress", []))

    async def all_there(self) -> bool:
        """Whether every replica is listed, and every frontend answers."""
        found = await self.replicas()
        is_whole = all(len(found.get(lane, ())) == 2 for lane in LANES)
        return is_whole and await self.ingresses() == 2 and await self._answer()

    async def _answer(self) -> bool:
        quick = aiohttp.ClientTimeout(total=5)
        for url in self._urls:
            try:
                async with self.http.get(f"{url}/health", timeout=quick) as response:
                    if response.status != 200:
                        return False
            except (aiohttp.ClientError, TimeoutError):
                return False
        return True


async def until(check: Callable[[], Any], what: str, within_s: float = ALL_S) -> float:
    """Seconds until the check held."""
    begun = time.monotonic()
    while not await check():
        if time.monotonic() - begun > within_s:
            raise RuntimeError(f"not within {within_s:.0f} s: {what}")
        await asyncio.sleep(0.25)
    return time.monotonic() - begun


async def one_round(
    clients: Clients, fronts: list[Node], expected: list[Seen], loss: Loss, gone: set[str]
) -> dict[str, Any]:
    """Streams, a node lost while they run, and how each of them ended.

    `gone`: ids of the lane replicas that are on the node.
    """
    seen = [Seen() for _ in range(STREAMS)]
    tasks = [asyncio.create_task(clients.stream(n, seen[n])) for n in range(STREAMS)]
    await until(lambda: _are_begun(seen), "every stream has begun", 60)
    await asyncio.sleep(KEPT_S)
    open_streams = sum(not x.is_whole and not x.error for x in seen)
    counted = await clients.resumed()
    loss.lose()
    through = Clients(clients.http, [node for node in fronts if node is not loss.node])
    came = [task for _ in range(NEW) for task in await _one_more(through)]
    new = await asyncio.gather(*came)
    await asyncio.gather(*tasks)
    whole = [x.is_whole and x.is_like(y) for x, y in zip(seen, expected, strict=True)]
    hit = [n for n, x in enumerate(seen) if x.replica in gone]
    gaps = [seen[n].longest_gap_s for n in hit if whole[n]]
    return {
        "round": loss.name,
        "open": open_streams,
        "on_the_node": len(hit),
        "on_the_node_and_whole": sum(whole[n] for n in hit),
        "resumed": (await clients.resumed() - counted).total(),
        "failed": whole.count(False),
        "failures": dict(Counter(_fault(seen[n]) for n in range(STREAMS) if not whole[n])),
        "longest_gap_s": round(max(gaps, default=0), 2),
        "median_gap_s": round(statistics.median(gaps or [0]), 2),
        "new": len(new),
        "new_and_whole": sum(is_whole for is_whole, _ in new),
        "new_median_s": round(statistics.median(x for _, x in new), 2),
        "new_longest_s": round(max(x for _, x in new), 2),
    }


async def _one_more(clients: Clients) -> list[asyncio.Task[tuple[bool, float]]]:
    """A new session in each lane, a moment after the one before."""
    await asyncio.sleep(NEW_EVERY_S)
    first = int(time.monotonic() * 1000) * 2
    return [asyncio.create_task(clients.comes(first + lane)) for lane in range(len(LANES))]


def _fault(seen: Seen) -> str:
    return seen.error or ("another text" if seen.is_whole else "cut")


async def _are_begun(seen: list[Seen]) -> bool:
    return all(x.times or x.error for x in seen)


async def run(cluster: Cluster, key: str) -> list[dict[str, Any]]:
    head, front, lanes = cluster.nodes
    headers = {"authorization": f"Bearer {key}"}
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=240)
    rounds = []
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as http:
        both = Clients(http, [head, front])
        await until(both.all_there, "two replicas of each lane, two ingress replicas")
        await asyncio.to_thread(cluster.refuse_open_folders)
        expected = await both.all_streams()
        failed = [x.error or "cut" for x in expected if not x.is_whole]
        if failed:
            raise RuntimeError(f"the undisturbed run failed: {failed[:3]}")
        print(f"undisturbed: {len(expected)} streams, all whole", flush=True)
        for loss in (
            Loss("lane node killed", lanes, lanes.kill),
            Loss("lane node cut off", lanes, lanes.cut),
            Loss("front node killed", front, front.kill),
        ):
            gone = await asyncio.to_thread(cluster.replicas_on, loss.node)
            told = await one_round(both, [head, front], expected, loss, gone)
            print(json.dumps(told), flush=True)
            rounds.append(told | await _mended(cluster, both, loss))
    return rounds


async def _mended(cluster: Cluster, clients: Clients, loss: Loss) -> dict[str, Any]:
    """Switch the node off and on, and wait until everything is there and answers."""
    begun = time.monotonic()
    # One that was cut off, too: Ray takes no node back that it has given up.
    loss.node.kill()
    loss.node.plug()
    await asyncio.to_thread(cluster.start_ray, loss.node)
    ray_s = time.monotonic() - begun
    await until(clients.all_there, "all replicas are back")
    all_s = time.monotonic() - begun
    again = await clients.all_streams()
    told = {
        "ray_is_back_s": round(ray_s, 1),
        "all_are_back_s": round(all_s, 1),
        "whole_afterwards": sum(x.is_whole for x in again),
        "failures_afterwards": dict(Counter(_fault(x) for x in again if not x.is_whole)),
    }
    print(json.dumps(told), flush=True)
    return told
