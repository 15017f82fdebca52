"""Ten thousand clients that leave at any moment: what is left behind.

    make bench-disconnects
    python -m benchmarks.disconnects --ends 10000 --rounds 5

A deployment with two ingress replicas and two simulated engines. Clients connect,
ask, and leave after a random time: with a reset or politely, over HTTP or on a socket,
before the first token or after, some of them cancelled, some resumed on another socket.
After each round everything must come back to 0. Tokens as Pointsman counted them are
put beside the engines' own counters; memory is read from /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import re
import time
from collections import Counter, defaultdict
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from benchmarks.support import report
from benchmarks.support.deployment import ROOT, admin_headers, deployed, pids_of, rss_mib

AT_ONCE = 32
IDLE_WITHIN_S = 30.0
WAITS_S = (0.0, 0.002, 0.01, 0.05, 0.1, 0.3)
_SAMPLE = re.compile(r"^([a-z:_]+)\{([^}]*)\} ([0-9.e+]+)$", re.MULTILINE)


class Clients:
    """Sends clients of random kinds, each with an end of its own."""

    def __init__(self, url: str, seed: int) -> None:
        self.host, self.port = url.removeprefix("http://").split(":")
        self.socket_url = url.replace("http://", "ws://") + "/v1/chat/ws"
        self.random = random.Random(seed)
        self.ends: Counter[str] = Counter()

    async def run(self, ends: int, *, whole: bool) -> None:
        """`ends` more chats and requests; `whole`: some are not streamed."""
        target = self.ends.total() + ends

        async def worker() -> None:
            while self.ends.total() < target:
                if self.random.random() < 0.6:
                    await self._http(stream=not whole or self.random.random() < 0.5)
                else:
                    with contextlib.suppress(WebSocketException, OSError, TimeoutError):
                        await self._socket()

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))

    def _body(self, *, stream: bool) -> dict[str, Any]:
        word = self.random.choices(["", "[fail] ", "[break] "], [30, 1, 1])[0]
        text = word + "please tell me more " * self.random.randrange(1, 20)
        tokens = self.random.choice([3, 8, 500, 1000])
        return {
            "messages": [{"role": "user", "content": text}],
            "max_tokens": tokens,
            "stream": stream,
        }

    async def _pause(self) -> None:
        await asyncio.sleep(self.random.choice(WAITS_S))

    async def _http(self, *, stream: bool) -> None:
        body = json.dumps(self._body(stream=stream)).encode()
        reader, writer = await asyncio.open_connection(self.host, int(self.port))
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        )
        await self._pause()
        if self.random.random() < 0.1:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await reader.readuntil(b"\r\n0\r\n" if stream else b"}}")
        self.ends["stream left" if stream else "whole answer left"] += 1
        if self.random.random() < 0.5:
            writer.transport.abort()
        else:
            writer.close()

    async def _socket(self) -> None:
        names = [str(self.random.random()) for _ in range(self.random.randrange(1, 4))]
        how = self.random.choice(["left", "cancelled", "resumed, then left"])
        async with self._connected() as ws:
            for name in names:
                await _say(ws, id=name, type="chat", body=self._body(stream=True))
            await self._pause()
            self.ends[f"chat {how}"] += len(names)
            if how == "cancelled":
                for name in names:
                    await _say(ws, id=name, type="cancel")
                await self._pause()
        if how == "resumed, then left":
            async with self._connected() as ws:
                for name in names:
                    await _say(ws, id=name, type="resume", after=0)
                await self._pause()

    @contextlib.asynccontextmanager
    async def _connected(self) -> Any:
        ws = await connect(self.socket_url, compression=None, open_timeout=30)
        try:
            yield ws
        finally:
            if self.random.random() < 0.5:
                ws.transport.abort()
            else:
                await ws.close()


async def _say(ws: ClientConnection, **frame: Any) -> None:
    await ws.send(json.dumps(frame))


def open_work(http: httpx.Client, url: str) -> dict[str, int]:
    """What must be 0 when nothing is open, as every part of the deployment counts it."""
    status = http.get(f"{url}/status", headers=admin_headers()).json()
    replicas = [r for lane in status["lanes"].values() for r in lane["replicas"]]
    ingress = status["ingress"]
    return {
        "requests_in_flight": sum(x["requests_in_flight"] for x in ingress),
        "reserved_tokens": sum(x["reserved_tokens"] for x in ingress),
        "sockets": sum(x["websocket"]["sockets"] for x in ingress),
        "chats": sum(x["websocket"]["kept"] for x in ingress),
        "endpoint_requests": sum(r["in_flight"] for r in replicas),
        "engine_requests": int(sum(r["running"] + r["waiting"] for r in replicas)),
    }


async def settled(http: httpx.Client, url: str) -> tuple[dict[str, int], float]:
    """Open work once it is all 0, or what is left after `IDLE_WITHIN_S`; and the wait."""
    begun = time.perf_counter()
    while True:
        work = open_work(http, url)
        waited = time.perf_counter() - begun
        if not any(work.values()) or waited > IDLE_WITHIN_S:
            return work, waited
        await asyncio.sleep(0.2)


def counters(http: httpx.Client, url: str) -> dict[str, float]:
    """Tokens and requests, as Pointsman and as the engines count."""
    text = http.get(f"{url}/metrics").text
    found: defaultdict[str, float] = defaultdict(float)
    for name, labels, value in _SAMPLE.findall(text):
        if name == "pointsman_tokens_total":
            kind = re.search('kind="([a-z]+)"', labels)
            found[f"pointsman_{kind[1] if kind else ''}"] += float(value)
        elif name in ("vllm:generation_tokens_total", "vllm:prompt_tokens_total"):
            found[name] += float(value)
        elif name == "pointsman_requests_total":
            code = re.search('code="([a-z0-9_]+)"', labels)
            found[f"code_{code[1] if code else ''}"] += float(value)
    return found


async def measure(url: str, ends: int, rounds: int) -> list[dict[str, Any]]:
    """A row a round. The last round has answers that are not streamed, too."""
    clients, rows = Clients(url, seed=3), []
    with httpx.Client(timeout=60) as http:
        before = counters(http, url)
        for number in range(1, rounds + 1):
            begun, done = time.perf_counter(), clients.ends.total()
            await clients.run(ends // rounds, whole=number == rounds)
            took = time.perf_counter() - begun
            work, waited = await settled(http, url)
            after = counters(http, url)
            grown = {key: after[key] - before[key] for key in after}
            before = after
            ours, theirs = grown["pointsman_completion"], grown["vllm:generation_tokens_total"]
            left = sum(grown.get(f"code_{code}", 0) for code in ("499", "broken"))
            rows.append(
                {
                    "round": number,
                    "kinds": "streams" if number < rounds else "streams and whole answers",
                    "ends": clients.ends.total() - done,
                    "run_s": took,
                    "left_open": sum(work.values()),
                    "idle_after_s": waited,
                    "abandoned_requests": int(left),
                    "completion_tokens_pointsman": int(ours),
                    "completion_tokens_engine": int(theirs),
                    "difference_tokens_per_abandoned": (theirs - ours) / max(1, left),
                    "prompt_tokens_pointsman": int(grown["pointsman_prompt"]),
                    "prompt_tokens_engine": int(grown["vllm:prompt_tokens_total"]),
                    "ingress_rss_mib": rss_mib(pids_of("ray::ServeReplica:pointsman:ingress")),
                    "lanes_rss_mib": rss_mib(pids_of("ray::ServeReplica:pointsman:lane")),
                }
            )
            print(rows[-1], flush=True)
    print(dict(clients.ends))
    return rows


NOTES = (
    "Simulated engines. `left_open` sums requests in flight, reserved tokens, sockets, chats, "
    "endpoint and engine requests. What a client leaves behind is on its way for a moment: the "
    "engine has made a token or two more than were passed on, and of a whole answer that is "
    "abandoned only the engine knows the tokens. An event counts as one token, so a late reader "
    "counts less. Prompts of requests without the engine's count are estimated."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ends", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    folder = ROOT / "benchmarks"
    with deployed(
        fleet=str(folder / "disconnects_fleet.yaml"),
        tenants=str(folder / "overhead_tenants.yaml"),
    ) as url:
        rows = asyncio.run(measure(url, given.ends, given.rounds))
    report.write("disconnects", rows, title="Clients that leave at any moment", notes=NOTES)
    plot(rows)
    assert not any(row["left_open"] for row in rows), "something was left open"


def plot(rows: list[dict[str, Any]]) -> None:
    """Tokens by our count and the engines', and memory, over the rounds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 2.8))
    rounds = [row["round"] for row in rows]
    for whose in ("pointsman", "engine"):
        counts = [row[f"completion_tokens_{whose}"] for row in rows]
        axes[0].plot(rounds, counts, marker="o", label=whose)
    axes[0].set_ylabel("completion tokens")
    axes[0].set_ylim(bottom=0)
    for what in ("ingress", "lanes"):
        axes[1].plot(rounds, [row[f"{what}_rss_mib"] for row in rows], marker="o", label=what)
    axes[1].set_ylabel("RSS, MiB")
    axes[1].set_ylim(bottom=0)
    for axis in axes:
        axis.set_xlabel("round of 2,000 clients that leave")
        axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(report.RESULTS / "disconnects.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
