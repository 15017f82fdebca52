"""The ceiling inside real streams: one tenant beside four others, over HTTP.

One simulated engine with the timing of a card, two ingress replicas, HAProxy. Runs
alternate between the tenant offering exactly its ceiling and three times that; what
its clients got by the second is counted where they read it, so the machine's own
delays on the way are in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp
import numpy as np
import yaml

from benchmarks.support import report
from benchmarks.support.deployment import ROOT, deployed_with
from serve_app.tenancy.auth import make_key

LIMIT, STREAMS, INGRESSES = 80, 8, 2
PROFILE = "llama-3.1-8b-fp8-rtx4090"
OTHERS = 4
RUN_S, WARM_S, ROUNDS = 60.0, 10.0, 3
PERIOD_S = 10.0
"""Each stream is due a request of `factor * LIMIT * PERIOD_S / STREAMS` tokens this often."""

TOKEN = b'"delta":{"content":"'
WORDS = "refund policy summary for an enterprise customer please explain the terms again "


def fullest_window(times: Sequence[float]) -> int:
    """Most tokens in any [t, t + 1 s), of times in order: the fullest begins with one."""
    return max(bisect_left(times, at + 1.0) - n for n, at in enumerate(times))


@dataclass
class Seen:
    """One run: when each token of the tenant came, and the others' gaps between tokens."""

    times: list[float] = field(default_factory=list)
    refused: int = 0
    answered: int = 0
    gaps: list[float] = field(default_factory=list)


class Load:
    """The tenant's eight streams and the others' four, for one run."""

    def __init__(self, url: str, keys: dict[str, str], factor: float, seed: int) -> None:
        self.url, self.keys, self.factor = f"{url}/v1/chat/completions", keys, factor
        self.seen, self.random = Seen(), Random(seed)
        self.begun = 0.0

    async def run(self) -> Seen:
        """Until the run's time is over; open streams are cut then."""
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            self.begun = time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WARM_S + RUN_S), asyncio.TaskGroup() as tasks:
                    for number in range(STREAMS):
                        tasks.create_task(self._stream(session, number))
                    for number in range(OTHERS):
                        tasks.create_task(self._other(session, number))
        return self.seen

    async def _stream(self, session: aiohttp.ClientSession, number: int) -> None:
        """The tenant's: a request is due every period, and asked as soon as the last is over."""
        tokens = int(self.factor * LIMIT * PERIOD_S / STREAMS)
        due = self.begun + PERIOD_S * number / STREAMS / max(1.0, self.factor)
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            while (wait := await self.ask(session, "hog", tokens, self._came)) is not None:
                self.seen.refused += 1
                await asyncio.sleep(wait * self.random.uniform(1.0, 1.1))
            self.seen.answered += 1
            due += PERIOD_S

    def _came(self, at: float, tokens: int) -> None:
        self.seen.times += [at] * tokens

    async def _other(self, session: aiohttp.ClientSession, number: int) -> None:
        """Another tenant: one stream after the other, without a ceiling."""
        last = 0.0

        def came(at: float, tokens: int) -> None:
            nonlocal last
            if last and last > self.begun + WARM_S:
                self.seen.gaps += [(at - last) / tokens] * tokens
            last = at

        while True:
            await asyncio.sleep(self.random.uniform(0.0, 0.4))
            last = 0.0
            if await self.ask(session, f"other{number}", 200, came) is not None:
                raise RuntimeError("a tenant without limits was refused")

    async def ask(
        self, session: aiohttp.ClientSession, tenant: str, tokens: int, came: Any
    ) -> float | None:
        """One request to its end; seconds to wait if it was refused."""
        body = {
            "model": "chat",
            "messages": [{"role": "user", "content": f"{self.random.random()} {WORDS * 20}"}],
            "stream": True,
            "max_tokens": tokens,
            "min_tokens": tokens,
        }
        headers = {"authorization": f"Bearer {self.keys[tenant]}"}
        async with session.post(self.url, json=body, headers=headers) as response:
            if response.status == 429:
                return float(response.headers["retry-after"])
            if response.status != 200:
                raise RuntimeError(await response.text())
            rest = b""
            async for chunk in response.content.iter_any():
                at = time.monotonic()
                *events, rest = (rest + chunk).split(b"\n\n")
                if count := sum(TOKEN in event for event in events):
                    came(at, count)
        return None


@contextlib.contextmanager
def _deployment() -> Iterator[tuple[str, dict[str, str]]]:
    keys, tenants = {}, {}
    for name in ("hog", *(f"other{n}" for n in range(OTHERS))):
        keys[name], entry = make_key()
        tier = "limited" if name == "hog" else "free"
        tenants[name] = {"tier": tier, "keys": [entry.model_dump(mode="json")]}
    tiers = {"limited": {"ceilings": {"tokens_per_second": LIMIT}}, "free": {}}
    fleet = yaml.safe_load((ROOT / "benchmarks/isolation_kills_fleet.yaml").read_text())
    fleet["name"] = "isolation-ceiling"
    fleet["lanes"]["chat"] |= {"replicas": 1, "simulated": {"profile": PROFILE}}
    fleet["ingress"]["replicas"] = INGRESSES
    with deployed_with(fleet, {"tiers": tiers, "tenants": tenants}) as url:
        yield url, keys


def _row(factor: float, number: int, seen: Seen, begun: float) -> dict[str, Any]:
    inside = sorted(t for t in seen.times if t >= begun + WARM_S)
    return {
        "offered_x_ceiling": factor,
        "round": number,
        "engine": "simulated",
        "fullest_1_s_tokens": fullest_window(inside),
        "mean_tokens_per_s": len(inside) / RUN_S,
        "answered": seen.answered,
        "refused_or_asked_again": seen.refused,
        "others_tokens": len(seen.gaps),
        "others_itl_p50_ms": 1e3 * float(np.quantile(seen.gaps, 0.5)),
        "others_itl_p99_ms": 1e3 * float(np.quantile(seen.gaps, 0.99)),
    }


def run(*, is_dry: bool) -> None:
    rows = []
    with _deployment() as (url, keys):
        asyncio.run(_warm(url, keys))
        for number in range(ROUNDS):
            for factor in (1.0, 3.0):
                load = Load(url, keys, factor, seed=number)
                seen = asyncio.run(load.run())
                rows.append(_row(factor, number, seen, load.begun))
                print(rows[-1], flush=True)
                # What the tenant owes is repaid before the next run.
                time.sleep(35 if factor > 1 else 5)
    for name in ("others_itl_p50_ms", "others_itl_p99_ms"):
        exactly, more = (
            statistics.median(row[name] for row in rows if row["offered_x_ceiling"] == factor)
            for factor in (1.0, 3.0)
        )
        print(f"{name}: median of {ROUNDS} {more:.2f} beside {exactly:.2f}: {more / exactly:.3f}")
    if is_dry:
        return
    notes = (
        f"Over HTTP through HAProxy and {INGRESSES} ingress replicas, one simulated engine "
        f"({PROFILE}). One tenant with a ceiling of {LIMIT} tokens a second and {STREAMS} streams "
        f"is due {LIMIT} (1) or {3 * LIMIT} (3) tokens a second; {OTHERS} other tenants have one "
        f"stream each and no ceiling. {RUN_S:.0f} s a run after {WARM_S:.0f} s, runs alternate. "
        "Times are the client's: delays of the machine on the way there are in the fullest second. "
        "Command: `python -m benchmarks.isolation_ceiling --http`."
    )
    report.write("isolation_ceiling_http", rows, title="A ceiling inside streams", notes=notes)
    _plot(rows)


async def _warm(url: str, keys: dict[str, str]) -> None:
    async with aiohttp.ClientSession() as session:
        load = Load(url, keys, 1.0, seed=0)
        for _ in range(10):
            await load.ask(session, "other0", 20, lambda *_: None)


def _plot(rows: list[dict[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 2.8))
    for factor in (1.0, 3.0):
        own = [row for row in rows if row["offered_x_ceiling"] == factor]
        at = np.arange(len(own)) + (0.2 if factor > 1 else -0.2)
        label = f"{factor:.0f} x its ceiling"
        axes[0].bar(at, [row["fullest_1_s_tokens"] for row in own], 0.38, label=label)
        axes[1].bar(at, [row["others_itl_p99_ms"] for row in own], 0.38, label=label)
    axes[0].axhline(LIMIT + INGRESSES, color="grey", linestyle="--", linewidth=1)
    axes[0].set_ylabel("tokens in the fullest second")
    axes[1].set_ylabel("others' ITL p99, ms")
    for axis in axes:
        axis.set_xlabel("round")
        axis.legend(fontsize=7, loc="lower right")
    figure.tight_layout()
    figure.savefig(report.RESULTS / "isolation_ceiling_http.png", dpi=110)
    plt.close(figure)
