"""A lane of real engines that follows its load: 1 -> 2 -> 1 under streams.

    make bench-scaling_real

Streams of the embedded model, more than one engine runs at once, until a second replica answers
some of them; then fewer, until the lane is back at one. Streams go on all the while.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.support import report
from benchmarks.support.deployment import admin_headers, deployed, haproxies
from serve_app.engine.embedded_model import prepare

FLEET = Path(__file__).with_name("support") / "scaling_real_fleet.yaml"
MANY, FEW, TOKENS = 10, 1, 120
WITHIN_S = 400.0


@dataclass
class Talk:
    """What the streams were: by the replica that ended them, and those that were not whole."""

    by_replica: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    wanted: int = MANY


async def talker(http: aiohttp.ClientSession, talk: Talk, number: int) -> None:
    """One stream after the other, as long as so many are wanted."""
    turn = 0
    while number < talk.wanted:
        turn += 1
        body = {
            "model": "chat",
            "messages": [{"role": "user", "content": f"Tell me story {number} of {turn}."}],
            "max_tokens": TOKENS,
            "ignore_eos": True,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        text, status, replica = "", 0, ""
        try:
            async with http.post("/v1/chat/completions", json=body) as response:
                status = response.status
                replica = response.headers.get("x-pointsman-replica", "")
                text = await response.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            text = type(error).__name__
        # A comment with times stands behind the last event.
        is_whole = f'"completion_tokens":{TOKENS}' in text and "data: [DONE]\n\n" in text
        if status == 200 and is_whole:
            talk.by_replica[replica] += 1
        else:
            talk.broken.append(f"{status} {text[-200:]}")


async def lane(http: aiohttp.ClientSession) -> dict[str, Any]:
    async with http.get("/status", headers=admin_headers()) as response:
        row: dict[str, Any] = (await response.json())["lanes"]["chat"]
        return row


async def until(http: aiohttp.ClientSession, target: int, busy: int) -> float:
    """Seconds until the lane has this target, is there, and so many of its replicas work."""
    begun = time.monotonic()
    async with asyncio.timeout(WITHIN_S):
        while True:
            row = await lane(http)
            scaling, at_work = row["scaling"], [x for x in row["replicas"] if x["in_flight"]]
            is_there = scaling["ready"] == scaling["target"] == target and not scaling["draining"]
            if is_there and len(at_work) >= busy:
                return time.monotonic() - begun
            await asyncio.sleep(1)


async def run(url: str) -> list[dict[str, Any]]:
    talk, rows, before = Talk(), [], haproxies()
    timeout = aiohttp.ClientTimeout(total=None, sock_read=300)
    headers = {"x-pointsman-debug": "1"}
    async with (
        aiohttp.ClientSession(url, timeout=timeout, headers=headers) as http,
        asyncio.TaskGroup() as talkers,
    ):
        for number in range(MANY):
            talkers.create_task(talker(http, talk, number))
        for wanted, target, busy in ((MANY, 2, 2), (FEW, 1, 1)):
            talk.wanted = wanted
            took = await until(http, target, busy)
            rows.append(
                {
                    "streams": wanted,
                    "replicas": target,
                    "after_s": took,
                    "whole": talk.by_replica.total(),
                    "by_replica": " + ".join(str(x) for x in talk.by_replica.values()),
                    "broken": len(talk.broken),
                    "new_haproxies": len(haproxies() - before),
                }
            )
            print(rows[-1], *talk.broken[:3], flush=True)
        talk.wanted = 0
    rows.append({"streams": 0, "whole": talk.by_replica.total(), "broken": len(talk.broken)})
    return rows


def main() -> None:
    prepare()
    with deployed(fleet=str(FLEET)) as url:
        rows = asyncio.run(run(url))
    notes = (
        "SmolLM2-135M on the CPU by vLLM, a lane with `replicas: {min: 1, max: 2}`. Streams of "
        f"{TOKENS} tokens, one after the other: {MANY} at once, then {FEW}. `after_s`: until the "
        "lane has as many replicas as `replicas`, and all of them work. `whole`, `broken`: "
        "streams so far, `by_replica`: whole ones by the replica that began them. "
        "Command: `make bench-scaling_real`."
    )
    report.write("scaling_real", rows, title="Real engines that follow their load", notes=notes)


if __name__ == "__main__":
    main()
