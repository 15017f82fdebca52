"""Usage while the ledger, an ingress and an engine are killed in turn under load.

    make bench-isolation_kills                            # 34 rounds of each: 20 minutes
    python -m benchmarks.isolation_kills --rounds 1       # a look: 2 minutes
    python -m benchmarks.isolation_kills --minutes 15     # as many as are begun within

Each round: eight clients of four tenants ask, a process gets SIGKILL at a random moment, they go
on until the deployment is whole again, then everybody finishes. Once the store has all
that is in the usage logs, each tenant's usage there is compared with what its clients counted and,
where no engine was killed, with the engines' own counters.

A request whose answer came whole has to be in the store once, with the engine's counts. One
that broke off may be there once, with no more than it asked for and no less than what
it had delivered a flush before.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import yaml

from benchmarks.disconnects import counters, settled
from benchmarks.support import report
from benchmarks.support.deployment import admin_headers, deployed, pids_of
from benchmarks.support.isolation_kills_load import MAX_PROMPT_TOKENS, Clients, Tally
from benchmarks.support.isolation_kills_usage import TENANTS, Usage

EACH = 2
BACK_S = 180.0
KINDS = {
    "ledger": "ray::ServeReplica:pointsman:ledger",
    "ingress": "ray::ServeReplica:pointsman:ingress",
    "engine": "ray::ServeReplica:pointsman:lane:chat",
}
# Every ceiling there is, so that the ledger leases; none binds but a new ledger's empty buckets.
TENANTS_FILE = {
    "tiers": {
        "bench": {
            "ceilings": {
                "tokens_per_second": 100_000,
                "tokens_per_minute": 100_000_000,
                "requests_per_minute": 1_000_000,
            }
        }
    },
    "tenants": {name: {"tier": "bench"} for name in ("local", *TENANTS)},
    "local_tenant": "local",
}


class Rounds:
    """Kills in turn; a row for each kind."""

    def __init__(self, url: str, usage: Usage, keys: dict[str, str]) -> None:
        self.url, self.usage = url, usage
        self.clients = Clients(url, keys, EACH)
        self.rows: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
        self.back_s: dict[str, list[float]] = {kind: [] for kind in KINDS}
        self.odd: list[str] = []

    async def one(self, kind: str, http: httpx.Client) -> None:
        """Load, a kill, everything back, nobody left, the comparison."""
        engines = counters(http, self.url)
        self.clients.start()
        await self._until(lambda: self.clients.ended > 2 * EACH * len(TENANTS), "no answers")
        await asyncio.sleep(random.uniform(0, 0.6))
        before = await self._changed(None)
        victim = random.choice(pids_of(KINDS[kind]))
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        await self._changed(before)
        self.back_s[kind].append(time.monotonic() - killed)
        seen = await self.clients.stop()
        work, _ = await settled(http, self.url)
        if any(work.values()):
            self.odd.append(f"{kind}: left open {work}")
        stored = await self.usage.grown()
        row = self.rows[kind]
        row["rounds"] += 1
        for tenant in TENANTS:
            self._compare(kind, row, seen[tenant], stored[tenant], tenant)
        if kind != "engine":
            after = counters(http, self.url)
            for theirs, ours in (("generation", "completion"), ("prompt", "prompt")):
                name = f"vllm:{theirs}_tokens_total"
                made = int(after[name] - engines[name])
                row[f"engines_{ours}"] += made
                told = sum(x[ours] for x in stored.values())
                if ours == "completion" and told > made:
                    self.odd.append(f"{kind}: {told} stored, {made} made by the engines")

    def _compare(
        self, kind: str, row: Counter[str], seen: Tally, stored: Counter[str], tenant: str
    ) -> None:
        least = seen.finished + Counter(completion=seen.at_least)
        most = seen.finished + Counter(
            requests=seen.interrupted,
            prompt=seen.interrupted * MAX_PROMPT_TOKENS,
            completion=seen.at_most,
        )
        for name in ("requests", "prompt", "completion"):
            row[f"finished_{name}"] += seen.finished[name]
            row[f"stored_{name}"] += stored[name]
            row[f"missing_{name}"] += max(0, least[name] - stored[name])
            row[f"surplus_{name}"] += max(0, stored[name] - most[name])
        row["interrupted"] += seen.interrupted
        row["refused"] += seen.refused
        row["delivered_of_interrupted"] += seen.seen
        if any(not least[n] <= stored[n] <= most[n] for n in ("requests", "prompt", "completion")):
            self.odd.append(f"{kind}, {tenant}: {dict(stored)} not in {dict(least)}, {dict(most)}")

    async def _until(self, is_so: Any, what: str, within_s: float = 60) -> None:
        deadline = time.monotonic() + within_s
        while not is_so():
            if time.monotonic() > deadline:
                raise RuntimeError(what)
            await asyncio.sleep(0.02)

    async def _changed(self, before: tuple[Any, ...] | None) -> tuple[Any, ...]:
        """Who is there, once all are and they are not those of before."""
        deadline = time.monotonic() + BACK_S
        while time.monotonic() < deadline:
            now = await self._whole()
            if now is not None and now != before:
                return now
            await asyncio.sleep(0.2)
        raise RuntimeError("the deployment did not come back")

    async def _whole(self) -> tuple[Any, ...] | None:
        """Who is there: the ledger's epoch, ingress and engine replicas; None: not all are."""
        try:
            timeout = aiohttp.ClientTimeout(total=10)
            async with (
                aiohttp.ClientSession(timeout=timeout) as http,
                http.get(f"{self.url}/status", headers=admin_headers()) as response,
            ):
                if response.status != 200:
                    return None
                status = await response.json()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None
        ledger = status.get("ledger") or {"epoch": 0, "leases": {}}
        leases = ledger["leases"].values()
        ingress = {x["pid"] for x in status["ingress"]}
        engines = {x["replica"] for x in status["lanes"]["chat"]["replicas"]}
        is_whole = (
            len(ingress) == len(leases) == len(engines) == 2
            and all(x["has_session"] for x in leases)
            and all(
                len(pids_of(KINDS[kind])) == n for kind, n in zip(KINDS, (1, 2, 2), strict=True)
            )
        )
        return (ledger["epoch"], ingress, engines) if is_whole else None

    def table(self) -> list[dict[str, Any]]:
        """A row for each kind, and all of them."""
        whole = sum(self.rows.values(), Counter())
        rows = []
        for kind, row in {**self.rows, "all": whole}.items():
            back = [s for k, x in self.back_s.items() if kind in (k, "all") for s in x]
            names = dict.fromkeys(n for r in self.rows.values() for n in r)
            has_engines = kind in ("ledger", "ingress")
            figures = {n: row[n] for n in names if has_engines or not n.startswith("engines_")}
            rows.append({"killed": kind, **figures, "back_s_max": max(back, default=0.0)})
        return rows


NOTES = (
    "Simulated engines, two; two ingress replicas and the ledger; eight clients of four tenants, "
    "streams and whole answers of 20 to 200 tokens, 10 ms apart. One process is killed with "
    "SIGKILL each round, in turn, at a random moment under load; after each round, what is stored "
    "is compared by tenant with what the clients counted. `finished_…`: answers that came whole. "
    "`interrupted`: requests that ended in an error or a broken connection. `missing_…`: finished "
    "(and what an interrupted one had delivered 1 s before it broke) less stored, where positive. "
    "`surplus_…`: stored less finished and interrupted ones (at most what they asked for), where "
    "positive: not 0 if something were counted twice. Both are summed over tenants and rounds, "
    "so they do not cancel out. `delivered_of_interrupted`: completion tokens. `engines_…`: the "
    "engines' own counters, where no engine was killed; they include what was generated and "
    "never delivered for interrupted requests. `back_s_max`: until the deployment was whole again."
)


def save(rounds: Rounds) -> None:
    odd = (
        " ".join(f"**{x}**." for x in rounds.odd[:20]) or "In no round was anything out of bounds."
    )
    title = "Usage over kill -9 of the ledger, an ingress, an engine"
    report.write("isolation_kills", rounds.table(), title=title, notes=f"{NOTES} {odd}")
    plot(rounds.table())


def plot(rows: list[dict[str, Any]]) -> None:
    """What clients counted beside what is stored, by whom was killed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = rows[:-1]
    figure, axes = plt.subplots(1, 2, figsize=(9, 2.8))
    for axis, what in zip(axes, ("requests", "completion"), strict=True):
        for offset, name in ((-0.2, "finished"), (0.2, "stored")):
            values = [row[f"{name}_{what}"] for row in rows]
            bars = axis.bar([n + offset for n in range(len(rows))], values, 0.38, label=name)
            axis.bar_label(bars, fmt="%d", fontsize=7)
        axis.set_xticks(range(len(rows)), [f"{row['rounds']} x {row['killed']}" for row in rows])
        axis.set_ylabel(what if what == "requests" else "completion tokens")
        axis.margins(y=0.15)
    axes[0].legend(fontsize=7)
    figure.suptitle(
        "more is stored than was finished: what an ingress' death broke off", fontsize=8
    )
    figure.tight_layout()
    figure.savefig(report.RESULTS / "isolation_kills.png", dpi=110)
    plt.close(figure)


async def measure(rounds: Rounds, count: int, until: float) -> None:
    """Rounds of each kind in turn; results are kept after each turn."""
    with httpx.Client(timeout=60) as http:
        await rounds.usage.grown()
        for number in range(count):
            if time.monotonic() > until:
                return
            for kind in KINDS:
                await rounds.one(kind, http)
                row = rounds.rows[kind]
                print(number + 1, kind, rounds.back_s[kind][-1], dict(row), rounds.odd, flush=True)
            save(rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=34, help="of each kind")
    parser.add_argument("--minutes", type=float, default=120, help="begin no turn after these")
    given = parser.parse_args()
    until = time.monotonic() + 60 * given.minutes
    with tempfile.TemporaryDirectory() as folder:
        # A store of its own: keys and usage of this run only.
        os.environ["POINTSMAN_STATE"] = folder
        tenants = Path(folder) / "tenants.yaml"
        tenants.write_text(yaml.safe_dump(TENANTS_FILE))
        usage = Usage(tenants)
        keys = usage.keys()
        fleet = Path(__file__).with_name("isolation_kills_fleet.yaml")
        with deployed(fleet=str(fleet), tenants=str(tenants)) as url:
            rounds = Rounds(url, usage, keys)
            asyncio.run(measure(rounds, given.rounds, until))
    assert not rounds.odd, rounds.odd


if __name__ == "__main__":
    main()
