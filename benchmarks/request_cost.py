"""CPU time of one whole answer in the ingress process, step by step, without Ray and sockets.

    make bench-request_cost
    python -m benchmarks.request_cost --functions 60
    python -m benchmarks.request_cost --layers

The ingress replica is the real one with all that a deployment has (`support/one_process.py`). In
the place of its connections to engines stands one recorded answer, so what is counted is the
ingress's own work from the first line of the request to the settled record. Requests come one
after another, each with a new last turn: `known` of words that have been seen before, but for its
number; `cold` of words of which a fifth was never seen. CPU is the whole process's, its writers'
threads included.
"""

from __future__ import annotations

import argparse
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
from benchmarks.support.request_profile import Samples, counted_calls
from benchmarks.support.serve_layers import Connection, empty, quiet_access_log, ways
from serve_app.front.listener.wire import Wire
from simulator.virtual_time.report import quantile

ROOT = Path(__file__).parents[1]
FLEET = ROOT / "benchmarks/overhead_fleet.yaml"
TENANTS = ROOT / "benchmarks/overhead_tenants.yaml"
REQUESTS, PART, WARM_UP = 20_000, 20, 500
KNOWN = "please summarize our refund policy for an enterprise customer who returned it"
LINES = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost:8000\r\naccept: */*\r\n"
    b"accept-encoding: gzip, deflate\r\nuser-agent: Python/3.11 aiohttp/3.13\r\n"
    b"content-type: application/json\r\n"
)
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


async def run(app: Any, asked: list[bytes]) -> float:
    """Microseconds of CPU a request, of the whole process."""
    begun = time.process_time()
    for body in asked:
        if await answered(app, body) != 200:
            raise RuntimeError("a request failed")
    return 1e6 * (time.process_time() - begun) / len(asked)


async def measured(kind: str, args: argparse.Namespace) -> tuple[dict[str, Any], Samples]:
    samples, given = Samples(), bodies(kind)
    with tempfile.TemporaryDirectory() as folder:
        async with one_process(FLEET, TENANTS, Path(folder)) as made:
            await record(made)
            await run(made.app, list(islice(given, WARM_UP)))
            parts = [list(islice(given, PART)) for _ in range(args.requests // PART)]
            runs = [await run(made.app, part) for part in parts]
            with samples.taken():
                await run(made.app, list(islice(given, args.requests)))
            with counted_calls() as calls:
                await run(made.app, list(islice(given, PART)))
    cpu_us = statistics.median(runs)
    row: dict[str, Any] = {
        "words": kind,
        "cpu_us": cpu_us,
        "p5_us": quantile(runs, 0.05),
        "calls": round(calls[0] / PART),
    }
    row |= {step: cpu_us * share for step, share in samples.shares().items()}
    return row, samples


async def layers(args: argparse.Namespace) -> list[dict[str, Any]]:
    """What each layer before the application adds, of an application that does nothing.

    The layers take turns, in short runs: what else the machine does meets all of them alike.
    """
    quiet_access_log()
    body = next(bodies("known"))
    request = LINES + b"content-length: %d\r\n\r\n" % len(body) + body
    made = {"own listener": Connection(empty, Wire)}
    made |= {name: Connection(app) for name, app in ways(empty).items()}
    spent: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(args.requests // PART):
        for name, connection in made.items():
            begun = time.process_time()
            for _ in range(PART):
                await connection.ask(request)
            spent[name].append(1e6 * (time.process_time() - begun) / PART)
    rows, before = [], 0.0
    for name, each in spent.items():
        median, least = statistics.median(each), quantile(each, 0.05)
        rows.append({"layer": name, "cpu_us": median, "p5_us": least, "adds_p5_us": least - before})
        # The others stand on each other, behind HAProxy.
        before = 0.0 if name == "own listener" else least
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--functions", type=int, default=0, help="print so many of the dearest")
    parser.add_argument("--dry", action="store_true", help="print; write no results")
    parser.add_argument("--words", default="known,cold")
    parser.add_argument("--layers", action="store_true", help="of what stands before it instead")
    args = parser.parse_args()
    if args.layers:
        _write_layers(uvloop.run(layers(args)), args)
        return
    rows = []
    for kind in args.words.split(","):
        row, samples = uvloop.run(measured(kind, args))
        rows.append(row)
        if args.functions:
            print(report.table(samples.dearest(args.functions)))
    if args.dry:
        print(report.table(rows))
        return
    report.write(
        "request_cost",
        rows,
        title="What a whole answer costs in the ingress process",
        notes=f"CPU microseconds a request: {args.requests} requests in parts of {PART}, the "
        "median part's and the fifth percentile's (`p5_us`: what a busy machine disturbs least), "
        "all features on, the engine's answer from memory: no sockets, no Serve. By step: the "
        "median in the shares of a sampling profile. `calls`: of functions of ours, a request. "
        "Command: `make bench-request_cost`.",
    )


def _write_layers(rows: list[dict[str, Any]], args: argparse.Namespace) -> None:
    if args.dry:
        print(report.table(rows))
        return
    report.write(
        "request_layers",
        rows,
        title="What stands between a connection and the application in an ingress replica",
        notes=f"CPU microseconds a request: {args.requests} requests in parts of {PART}, the "
        "median part's and the fifth percentile's (`p5_us`), in one process and without sockets, "
        "of an application that answers 300 bytes. The own listener is all that a request on it "
        "meets; from uvicorn on each line adds a layer to the one above. "
        "Command: `python -m benchmarks.request_cost --layers`.",
    )


if __name__ == "__main__":
    main()
