"""Prefix-cache hits of two real engines, by who chooses between them.

    make bench-affinity_real                                    # all, 45 minutes
    python -m benchmarks.affinity_real --policy Pointsman       # one, added to the results
    python -m benchmarks.affinity_real --seeds 1 --sessions 4   # a trial; nothing is written

40 sessions of 8 tenants, 6 or 7 turns each, recorded beforehand (`conversations.py`), asked
by a closed loop of a few clients in the same order whatever answers. Hits are vLLM's own
counters. What all is measured against is one engine with the cache of both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from benchmarks.support import report
from benchmarks.support.affinity_real_ways import IDEAL, OURS, WAYS, Counters, Way
from benchmarks.support.conversations import Mix, Turn, record
from benchmarks.support.deployment import URL
from simulator.virtual_time.report import quantile

NAME = "affinity_real"
CLIENTS = 5
MAX_TOKENS = 12
SEEDS = (1, 2)


@dataclass
class Told:
    """What the clients saw."""

    ttft_s: list[float] = field(default_factory=list)
    prompt_tokens: int = 0
    failed: int = 0


class Clients:
    """A closed loop over recorded turns."""

    def __init__(self, way: Way, http: aiohttp.ClientSession, turns: list[Turn]) -> None:
        self._way, self._http = way, http
        self._left: Iterator[Turn] = iter(turns)
        # A session's turns follow one another, as a person's do.
        self._sessions = {turn.session: asyncio.Lock() for turn in turns}
        self.told = Told()

    async def run(self) -> Told:
        await asyncio.gather(*(self._client() for _ in range(CLIENTS)))
        return self.told

    async def _client(self) -> None:
        for turn in self._left:
            async with self._sessions[turn.session]:
                try:
                    await self._ask(turn)
                except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                    self.told.failed += 1
                    print("failed:", type(error).__name__, str(error)[:200], flush=True)

    async def _ask(self, turn: Turn) -> None:
        body = {
            "model": self._way.model,
            "messages": turn.messages,
            "max_tokens": MAX_TOKENS,
            "ignore_eos": True,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._way.body[turn.tenant],
        }
        headers = {"x-session-id": f"session-{turn.session}", **self._way.headers[turn.tenant]}
        begun = time.perf_counter()
        first, usage, is_whole = 0.0, None, False
        target = f"{URL}/v1/chat/completions"
        async with self._http.post(target, json=body, headers=headers) as response:
            if response.status != 200:
                raise ValueError(f"{response.status} {await response.text()}")
            async for line in response.content:
                if line.startswith(b"data: {"):
                    data = orjson.loads(line[6:])
                    usage = data.get("usage") or usage
                    choices = data.get("choices") or ()
                    if not first and any(c["delta"].get("content") for c in choices):
                        first = time.perf_counter()
                elif line.startswith(b"data: [DONE]"):
                    is_whole = True
        if not is_whole or not first or usage is None:
            raise ValueError("the stream broke off")
        self.told.ttft_s.append(first - begun)
        self.told.prompt_tokens += usage["prompt_tokens"]


async def drive(way: Way, turns: list[Turn]) -> Told:
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        return await Clients(way, http, turns).run()


def measure(policy: str, mix: Mix, seed: int) -> dict[str, Any]:
    """One deployment, started, asked every turn, and ended."""
    turns = record(mix, seed)
    begun = time.monotonic()
    with WAYS[policy](mix.tenants) as way:
        _await_replicas(way)
        # Other texts of other sessions: each engine has answered before it is measured.
        asyncio.run(drive(way, record(Mix(sessions=4, tenants=4, turns=(1, 1)), 1000 + seed)))
        time.sleep(1)
        before, started = way.counters(), time.monotonic()
        told = asyncio.run(drive(way, turns))
        took = time.monotonic() - started
        # The engine counts a request when it has ended there.
        time.sleep(1)
        counted = _since(before, way.counters())
    print(f"{policy}, seed {seed}: started and ended in {time.monotonic() - begun:.0f} s")
    return _row(policy, seed, told, counted, took)


def _await_replicas(way: Way, within_s: float = 300) -> None:
    """Wait for the last replica; a deployment is ready with its first."""
    deadline = time.monotonic() + within_s
    while len(way.counters()) != way.replicas:
        if time.monotonic() > deadline:
            raise RuntimeError("not all replicas came")
        time.sleep(1)


def _since(before: Counters, after: Counters) -> Counters:
    if before.keys() != after.keys():
        raise RuntimeError("the replicas changed under the measurement")
    return {
        replica: {name: value - before[replica].get(name, 0.0) for name, value in now.items()}
        for replica, now in after.items()
    }


def _row(policy: str, seed: int, told: Told, counted: Counters, took: float) -> dict[str, Any]:
    queries = sum(one["queries"] for one in counted.values())
    requests = sorted((one["requests"] for one in counted.values()), reverse=True)
    return {
        "policy": policy,
        "seed": seed,
        "turns": len(told.ttft_s),
        "failed_requests": told.failed,
        "hit_ratio": sum(one["hits"] for one in counted.values()) / queries,
        "hit_of_ideal": None,
        # A request that is preempted is looked up again.
        "queries_of_prompt_tokens": queries / told.prompt_tokens,
        "requests_by_replica": " / ".join(f"{count:.0f}" for count in requests),
        "imbalance": requests[0] * len(requests) / sum(requests),
        "ttft_p50_ms": 1000 * quantile(told.ttft_s, 0.5),
        "ttft_p95_ms": 1000 * quantile(told.ttft_s, 0.95),
        "took_s": took,
    }


# -- results ------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", choices=WAYS, action="append", help="default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--sessions", type=int, help="a trial; nothing is written")
    options = parser.parse_args()
    mix = Mix() if options.sessions is None else Mix(sessions=options.sessions)
    for seed in options.seeds:
        for policy in options.policy or WAYS:
            row = measure(policy, mix, seed)
            print(row, flush=True)
            if options.sessions is None:
                _keep(row)


def _keep(row: dict[str, Any]) -> None:
    """Put a row among those of earlier runs, in the place of the one it repeats."""
    path = report.RESULTS / f"{NAME}.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = [r for r in rows if (r["policy"], r["seed"]) != (row["policy"], row["seed"])]
    rows.append(row)
    names = list(WAYS)
    rows.sort(key=lambda r: (names.index(r["policy"]), r["seed"]))
    ideal = {r["seed"]: r["hit_ratio"] for r in rows if r["policy"] == IDEAL}
    for r in rows:
        r["hit_of_ideal"] = r["hit_ratio"] / ideal[r["seed"]] if r["seed"] in ideal else None
    report.write(NAME, rows, title="Session affinity (real engines)", notes=_notes())
    _plot(rows)


def _notes() -> str:
    mix = Mix()
    return (
        f"vLLM on the CPU, SmolLM2-135M in float32, blocks of 32 tokens; {mix.sessions} sessions "
        f"of {mix.tenants} tenants with {mix.system_words}-token system prompts, "
        f"{mix.turns[0]} or {mix.turns[1]} turns, interleaved, {MAX_TOKENS} tokens answered, "
        f"{CLIENTS} clients in a closed loop. Two replicas of 10,240 tokens of KV cache each; "
        "all sessions together come to 18,000. The conversations are fixed beforehand, answers "
        "included, and the same for all; a row is a deployment of its own and one recording "
        "(`seed`). `hit_ratio`: vllm:prefix_cache_hits over vllm:prefix_cache_queries, both "
        f"tokens, of all replicas; `hit_of_ideal`: over that of `{IDEAL}`, one replica with "
        "the cache and the slots of both. `imbalance`: requests of the busier replica over the "
        "mean. TTFT is the client's; engines, gateway and clients share two cores (in the runs "
        "kept here with other work besides), so it says little: hits do not "
        "depend on that. Ray's routers are Ray's classes with Ray's "
        "defaults behind Ray's own ingress, one ingress replica as Pointsman's; they get the "
        "session id and the messages as Ray documents, and each tenant's `cache_salt`, which "
        "Pointsman sets itself. Command: `make bench-affinity_real`."
    )


def _plot(rows: list[dict[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys(row["policy"] for row in rows))[::-1]
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.6), sharey=True)
    for place, name in enumerate(names):
        mine = [row for row in rows if row["policy"] == name]
        colour = "tab:orange" if name == OURS else "tab:grey" if name == IDEAL else "tab:blue"
        hits = [row["hit_ratio"] for row in mine]
        axes[0].barh(place, sum(hits) / len(hits), color=colour, alpha=0.6)
        axes[0].plot(hits, [place] * len(hits), "k|", markersize=12)
        for key, marker in (("ttft_p50_ms", "o"), ("ttft_p95_ms", "s")):
            label = key if place == 0 else None
            values = [row[key] for row in mine]
            axes[1].plot(values, [place] * len(values), marker, color=colour, label=label)
    axes[0].set_yticks(range(len(names)), names, fontsize=8)
    axes[0].set_xlabel("prefix-cache hit ratio (bar: mean, marks: recordings)")
    axes[0].set_xlim(0, 1)
    axes[1].set_xlabel("TTFT, ms")
    axes[1].set_xlim(left=0)
    axes[1].legend(fontsize=7)
    figure.suptitle("Two vLLM replicas on two CPU cores, 40 sessions", fontsize=10)
    figure.tight_layout()
    figure.savefig(report.RESULTS / f"{NAME}.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
