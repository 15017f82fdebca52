"""What a way does when something happens in the middle of streams."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from benchmarks.direct_ways.client import Answer, Client, get
from benchmarks.direct_ways.lane import ITL_S
from benchmarks.direct_ways.ways import LANE_PORTS, Start, Way

STREAMS, TOKENS = 8, 60
AT_S = 1.2
"""Into streams of three seconds, the thing happens."""


def behaviour(start: Start, kills: int) -> dict[str, Any]:
    """Every event once, each on a way that was started for it, but for those that end nothing."""
    with start() as way:
        row: dict[str, Any] = {"way": way.name, **asyncio.run(_sockets(way))}
        row |= asyncio.run(_leaving(way))
        if way.is_haproxy:
            row |= asyncio.run(_reload(way))
        if way.name == "hand_over":
            row |= asyncio.run(_paced(way))
        names = list(way.path)
    for name in names:
        with start() as way:
            row[f"whole_of_8_when_{name}_dies"] = asyncio.run(_whole_when_dead(way, name))
    row |= _lane_deaths(start, kills)
    if row["way"] == "hand_over":
        with start() as way:
            row["unread_whole_of_8"] = asyncio.run(_unread(way))
    return row


async def _during(way: Way, streams: int, event: Callable[[], Any], at_s: float) -> list[Answer]:
    """Open streams, let something happen in the midst of them, and wait for their end."""
    clients = [Client(way.port, way.secret) for _ in range(streams)]
    asking = [asyncio.ensure_future(client.ask(TOKENS)) for client in clients]
    await asyncio.sleep(at_s)
    await asyncio.to_thread(event)
    answers = await asyncio.gather(*asking)
    for client in clients:
        client.close()
    return answers


async def _whole_when_dead(way: Way, name: str) -> int:
    answers = await _during(way, STREAMS, lambda: _kill(way.path[name]), AT_S)
    return sum(answer.is_whole for answer in answers)


def _kill(process: subprocess.Popen[bytes]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def _lane_deaths(start: Start, kills: int) -> dict[str, Any]:
    """Kill the lane in whose hands streams are, at any moment of a step."""
    answers: list[Answer] = []
    chance = random.Random(1)
    for _ in range(kills):
        with start() as way:
            at_s = AT_S + chance.random() * ITL_S
            answers += asyncio.run(_during(way, 4 * STREAMS, lambda w=way: _kill(w.lanes[0]), at_s))  # type: ignore[misc]
    whole = sum(answer.is_whole for answer in answers)
    return {
        "lane_killed_streams": len(answers),
        "lane_killed_whole": whole,
        "lane_killed_cut": sum(a.tokens > 0 and not a.is_whole for a in answers),
    }


async def _unread(way: Way) -> int:
    """Kill the lane while most of what it wrote is in its own buffers, as nobody reads."""
    reading = asyncio.Event()
    clients = [Client(way.port, way.secret) for _ in range(STREAMS)]
    for client in clients:
        await client.pause_before(reading)
    body = {"stream": True, "max_tokens": 8000, "at_once": True}
    asking = [asyncio.ensure_future(client.send(body)) for client in clients]
    await asyncio.sleep(AT_S)
    await asyncio.to_thread(_kill, way.lanes[0])
    await asyncio.sleep(AT_S)
    reading.set()
    answers = await asyncio.gather(*asking)
    return sum(answer.is_whole and answer.tokens == 8000 for answer in answers)


async def _leaving(way: Way) -> dict[str, Any]:
    """When the lane stops after its clients have reset their connections, ten tokens in."""
    before = (await get(LANE_PORTS[0], "/stats", way.secret))["generated"]
    left: list[float] = []

    async def one() -> None:
        await Client(way.port, way.secret).ask(TOKENS, leave_after=10)
        left.append(time.monotonic())

    await asyncio.gather(*(one() for _ in range(STREAMS)))
    deadline = time.monotonic() + 5
    told = await get(LANE_PORTS[0], "/stats", way.secret)
    while told["running"] and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
        told = await get(LANE_PORTS[0], "/stats", way.secret)
    pairs = zip(sorted(left), sorted(told["aborted_at"]), strict=False)
    delays_ms = [1e3 * (at - since) for since, at in pairs]
    return {
        "aborted_of_8": len(told["aborted_at"]),
        "abort_after_ms": statistics.median(delays_ms) if delays_ms else "never",
        "generated_for_80_read": told["generated"] - before,
    }


async def _sockets(way: Way) -> dict[str, Any]:
    stranger = Client(LANE_PORTS[0], "guess")
    answer = await stranger.ask(2)
    stranger.close()
    return {
        "websocket": "echoes" if await _echoes(way) else "no",
        "lane_tells_a_stranger": answer.status,
    }


async def _echoes(way: Way) -> bool:
    try:
        async with asyncio.timeout(3), connect(_socket_url(way)) as opened:
            await opened.send("x")
            return await opened.recv() == "x"
    except (WebSocketException, OSError, TimeoutError):
        return False


def _socket_url(way: Way) -> str:
    return f"ws://127.0.0.1:{way.port}/v1/chat/ws"


async def _reload(way: Way) -> dict[str, Any]:
    """HAProxy is started anew as Ray does it, while streams, a socket and new requests run."""
    new: list[Answer] = []
    is_over = asyncio.Event()

    async def others() -> None:
        while not is_over.is_set():
            client = Client(way.port, way.secret)
            new.append(await client.ask(2))
            client.close()

    asking = asyncio.ensure_future(others())
    async with connect(_socket_url(way)) as opened:
        answers = await _during(way, STREAMS, way.reload or (lambda: None), AT_S)
        try:
            await opened.send("y")
            async with asyncio.timeout(2):
                is_kept = await opened.recv() == "y"
        except (WebSocketException, TimeoutError):
            is_kept = False
    is_over.set()
    await asking
    return {
        "whole_of_8_over_reload": sum(answer.is_whole for answer in answers),
        "new_over_reload": len(new),
        "new_failed_over_reload": sum(not answer.is_whole for answer in new),
        "websocket_over_reload": "kept" if is_kept else "cut",
    }


async def _paced(way: Way) -> dict[str, Any]:
    """40 tokens under a ceiling of 10 a second, which the engine makes at 20."""
    client = Client(way.port, way.secret)
    answer = await client.send({"stream": True, "max_tokens": 40, "rate": 10})
    client.close()
    return {"paced_10_tokens_per_s": answer.tokens / answer.took_s if answer.is_whole else 0.0}
