"""CPU time of one whole answer in the ingress process, step by step, without Ray and sockets.

    make bench-request_cost
    python -m benchmarks.request_cost --functions 60

The ingress replica is the real one with all that a deployment has (`support/one_process.py`); in
the place of its connections to engines stands one recorded answer, so what is counted is the
ingress's own work from the first line of the request to the settled record. Its writers' threads
are counted apart. Requests come one after another, each with a new last turn: `known` of words
that have been seen before, `cold` of words of which a fifth was never seen.

CPU is the process's and the event loop's thread's, the median of the repeats. Steps: one profiled
repeat's shares, of the unprofiled median. Calls are Python functions of ours.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.support import report
from benchmarks.support.one_process import OneProcess, one_process
from benchmarks.support.request_profile import functions_of, steps_of

ROOT = Path(__file__).parents[1]
FLEET = ROOT / "benchmarks/overhead_fleet.yaml"
TENANTS = ROOT / "benchmarks/overhead_tenants.yaml"
REQUESTS, REPEATS, WARM_UP = 3000, 7, 500
KNOWN = "please summarize our refund policy for an enterprise customer who returned it"
TURN_WORDS = 60
COLD_SHARE = 0.2


class Recorded:
    """An engine's answer from memory."""

    __slots__ = ("_body", "_done", "content_type", "headers", "status")

    def __init__(self, body: bytes) -> None:
        self.status, self.content_type = 200, "application/json"
        self.headers = {"content-type": self.content_type}
        self._body, self._done = body, None

    async def readany(self) -> bytes:
        body, self._body = self._body, b""
        return body

    async def read(self) -> bytes:
        return await self.readany()

    def when_closed(self, done: Any) -> None:
        self._done = done

    def close(self) -> None:
        done, self._done = self._done, None
        if done is not None:
            done()


def bodies(kind: str) -> Iterator[bytes]:
    """Requests without end, the same in each run; no two have the same last turn."""
    rng, number, known = random.Random(1), 0, KNOWN.split()
    while True:
        number += 1
        words = [rng.choice(known) for _ in range(TURN_WORDS)]
        if kind == "cold":
            for at in range(0, TURN_WORDS, round(1 / COLD_SHARE)):
                words[at] = "".join(rng.choices("abcdefghiklmnoprstuvw", k=7))
        text = f"{number}: {' '.join(words)}"
        messages = [{"role": "user", "content": text}]
        chat = {"model": "auto", "messages": messages, "stream": False, "max_tokens": 2}
        yield json.dumps(chat).encode()


async def answered(app: Any, body: bytes) -> int:
    """Ask for one whole answer; its status."""
    asked = [{"type": "http.request", "body": body, "more_body": False}]
    status = 0

    async def receive() -> dict[str, Any]:
        return asked.pop()

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/chat/completions",
        "raw_path": b"/v1/chat/completions",
        "query_string": b"",
        "headers": [
            (b"host", b"localhost:8000"),
            (b"accept", b"*/*"),
            (b"accept-encoding", b"gzip, deflate"),
            (b"user-agent", b"Python/3.11 aiohttp/3.13"),
            (b"content-length", b"%d" % len(body)),
            (b"content-type", b"application/json"),
        ],
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)
    return status


async def record(made: OneProcess) -> None:
    """Have one request answered by the simulated engine, and every later one by what it said."""
    lanes = made.ingress._lanes  # noqa: SLF001
    real, told = lanes._upstream.post, b""  # noqa: SLF001

    async def recording(*args: Any) -> Any:
        nonlocal told
        response = await real(*args)
        told = await response.read()
        response.close()
        return Recorded(told)

    async def post(*_: Any) -> Recorded:
        return Recorded(told)

    lanes._upstream.post = recording  # noqa: SLF001
    if await answered(made.app, next(bodies("known"))) != 200:
        raise RuntimeError(told)
    lanes._upstream.post = post  # noqa: SLF001


async def run(app: Any, asked: list[bytes]) -> dict[str, float]:
    """Microseconds a request: of the whole process, and of the event loop's thread."""
    requests = len(asked)
    cpu, thread = time.process_time(), time.thread_time()
    for body in asked:
        if await answered(app, body) != 200:
            raise RuntimeError("a request failed")
    used_s, own_s = time.process_time() - cpu, time.thread_time() - thread
    return {"process": 1e6 * used_s / requests, "loop": 1e6 * own_s / requests}


async def measured(kind: str, args: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    with tempfile.TemporaryDirectory() as folder:
        async with one_process(FLEET, TENANTS, Path(folder)) as made:
            await record(made)
            given = bodies(kind)
            await run(made.app, list(islice(given, WARM_UP)))
            parts = [list(islice(given, args.requests)) for _ in range(args.repeats + 1)]
            runs = [await run(made.app, part) for part in parts[:-1]]
            profile = cProfile.Profile()
            profile.enable()
            await run(made.app, parts[-1])
            profile.disable()
    spent, calls = steps_of(profile)
    loop_us = statistics.median(x["loop"] for x in runs)
    row: dict[str, Any] = {
        "words": kind,
        "cpu_us": statistics.median(x["process"] for x in runs),
        "least_us": min(x["process"] for x in runs),
        "loop_us": loop_us,
        "calls": round(calls.total() / args.requests),
    }
    scale = loop_us / sum(spent.values())
    row |= {step: scale * seconds for step, seconds in spent.most_common()}
    return row, profile


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--functions", type=int, default=0, help="print so many of the dearest")
    parser.add_argument("--dry", action="store_true", help="print; write no results")
    parser.add_argument("--words", default="known,cold")
    args = parser.parse_args()
    rows = []
    for kind in args.words.split(","):
        row, profile = uvloop.run(measured(kind, args))
        rows.append(row)
        if args.functions:
            print(report.table(functions_of(profile, args.requests, args.functions)))
    if args.dry:
        print(report.table(rows))
        return
    report.write(
        "request_cost",
        rows,
        title="What a whole answer costs in the ingress process",
        notes=f"CPU microseconds a request: {args.requests} requests, median of {args.repeats} "
        "repeats (`least_us`: the least), all features on, the engine's answer from memory: no "
        "sockets, no Serve. `loop_us`: of that, the event loop's thread; by step, in a "
        "profile's shares. `calls`: of functions of ours. Command: `make bench-request_cost`.",
    )


if __name__ == "__main__":
    main()
