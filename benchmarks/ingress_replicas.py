"""Many ingress replicas: what each costs, what they tell each other, and whether limits hold.

    make bench-ingress_replicas                                  # 1, 2, 4, 8: ten minutes
    python -m benchmarks.ingress_replicas --replicas 2 --dry     # a look: two minutes
    python -m benchmarks.ingress_replicas --ledger               # the ledger alone: a minute

One deployment after the other, with so many ingress replicas over simulated engines. Each is left
alone first, then has streams, whole answers, and at last tenants over their ceilings and
sessions whose turns come through any replica. CPU is read from /proc, bytes between processes from
the kernel's counts (`support/wire_traffic`), usage from the store. The first run also writes the
figures of `docs/scale.md` anew.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from benchmarks import scale
from benchmarks.support import ledger_cost, report, wire_traffic
from benchmarks.support.deployment import ROOT, admin_headers, cpu_s, deployed, pids_of, rss_mib
from benchmarks.support.isolation_kills_usage import Usage
from benchmarks.support.replicas_load import SETTLE_S, Clients, Told, longest_stall_s, per_second

NAME = "ingress_replicas"
REPLICAS = (1, 2, 4, 8)
LANE_REPLICAS, SLOTS = 4, 256
STREAMS, EACH, TOKENS = 64, 2, 100
ASKERS, ANSWERS = 8, 50
LIMIT, OVER_STREAMS, OVER_TOKENS = 400, 60, 60
PERMITS, PERMIT_CLIENTS, PERMIT_TOKENS = 16, 40, 20
SESSIONS, TURNS, TURN_TOKENS = 24, 6, 10
IDLE_S, EXACT_S = 8.0, 15.0
READY_S = 240.0
TENANTS = ("bench", "fast", "wide")
UNBOUND = {
    "tokens_per_second": 100_000,
    "tokens_per_minute": 100_000_000,
    "requests_per_minute": 1_000_000,
}
TENANTS_FILE = {
    "tiers": {
        "bench": {"ceilings": UNBOUND},
        "fast": {"ceilings": {**UNBOUND, "tokens_per_second": LIMIT}},
        "wide": {"ceilings": {**UNBOUND, "concurrent_requests": PERMITS}},
    },
    "tenants": {"local": {"tier": "bench"}, **{name: {"tier": name} for name in TENANTS}},
    "local_tenant": "local",
}
KINDS = {kind: f"ray::ServeReplica:pointsman:{kind}" for kind in ("ingress", "lane", "ledger")}
KINDS["controller"] = "ray::ServeController"

NOTES = (
    f"Simulated engines ({LANE_REPLICAS} of `chat`, one of `quality`), client and deployment on "
    f"{os.cpu_count()} cores. CPU a token: {STREAMS} streams of {TOKENS} tokens, ingress processes "
    "alone, the request's part in it; a request: whole answers of two tokens. `net_…`: less what "
    "they use without a request: most of it, where many do the work of one. `idle_…`: "
    f"{IDLE_S:.0f} s without a request. Over its ceiling: {OVER_STREAMS} streams at 20 tokens/s, "
    f"each on a connection of its own, {EXACT_S:.0f} s; times are the client's, which stood still "
    f"for `client_stall_ms`. `open_at_once`: of {PERMIT_CLIENTS} clients. `busiest_x_mean`: "
    f"requests of the busiest replica, at {STREAMS} connections. `usage_off_by`: requests and "
    "tokens in which store and clients differ, added up."
)


def fleet(replicas: int) -> dict[str, Any]:
    """The fleet of `make bench-overhead`, with several engines and so many ingress replicas."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "benchmarks/overhead_fleet.yaml").read_text())
    found["name"] = "ingress-replicas"
    found["ingress"]["replicas"] = replicas
    found["lanes"]["chat"]["replicas"] = LANE_REPLICAS
    for lane in found["lanes"].values():
        lane["num_cpus"] = 0.05
        lane["engine_args"] = {"max_num_seqs": SLOTS}
    found["ingress"]["num_cpus"] = 0.05
    return found


@contextmanager
def deployment(replicas: int) -> Iterator[tuple[Clients, Usage, str]]:
    """A deployment with a store of its own, once every ingress replica listens."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["POINTSMAN_STATE"] = folder
        files = {"fleet": fleet(replicas), "tenants": TENANTS_FILE}
        for name, content in files.items():
            (Path(folder) / f"{name}.yaml").write_text(yaml.safe_dump(content))
        paths = {name: str(Path(folder) / f"{name}.yaml") for name in files}
        usage = Usage(Path(paths["tenants"]), TENANTS)
        keys = usage.keys()
        try:
            with deployed(fleet=paths["fleet"], tenants=paths["tenants"]) as url:
                asyncio.run(_all_there(url, replicas))
                yield Clients(url, keys), usage, url
        finally:
            del os.environ["POINTSMAN_STATE"]


async def _all_there(url: str, replicas: int) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        found = await _listeners(url)
        if len(found) == replicas and all(found.values()):
            return
        await asyncio.sleep(1)
    raise RuntimeError(f"not all ingress replicas came: {found}")


async def _listeners(url: str) -> dict[int, dict[str, Any]]:
    """What `/status` says of each ingress replica's listener, by pid."""
    async with aiohttp.ClientSession() as http:
        try:
            async with http.get(f"{url}/status", headers=admin_headers()) as response:
                status = await response.json() if response.status == 200 else {}
        except (aiohttp.ClientError, OSError):
            status = {}
    return {x["pid"]: x["listener"] or {} for x in status.get("ingress", ())}


class Run:
    """The measurements of one deployment."""

    def __init__(self, replicas: int, clients: Clients, usage: Usage, url: str) -> None:
        self.replicas, self.clients, self.usage, self.url = replicas, clients, usage, url
        self.pids = {kind: pids_of(begin) for kind, begin in KINDS.items()}
        self.row: dict[str, Any] = {"ingress_replicas": replicas}
        self.traffic: list[dict[str, Any]] = []

    def measure(self) -> None:
        ask = self.clients
        asyncio.run(ask.streams("bench", 8, 2, 4))
        self.pids = {kind: pids_of(begin) for kind, begin in KINDS.items()}
        self._ports = wire_traffic.http_ports("lane")
        # What tenants were granted is given back after a while; until then they are reported.
        time.sleep(12)
        self._idle()
        self._streams()
        self._whole_answers()
        self.row["rss_mib_each"] = rss_mib(self.pids["ingress"]) / self.replicas
        asyncio.run(self._exactness())
        asyncio.run(self._settled(ask.told))
        self.row["broken"] = ask.told.broken

    def _used(self, before: dict[str, float] | None = None) -> dict[str, float]:
        return {k: cpu_s(p) - (before or {}).get(k, 0.0) for k, p in self.pids.items()}

    def _idle(self) -> None:
        before, sent = self._used(), wire_traffic.look()
        time.sleep(IDLE_S)
        self._note_traffic("idle", sent, IDLE_S)
        used = self._used(before)
        self.row["idle_cpu_percent_each"] = 100 * used["ingress"] / IDLE_S / self.replicas
        for kind in ("ledger", "controller"):
            self.row[f"idle_cpu_percent_{kind}"] = 100 * used[kind] / IDLE_S

    def _streams(self) -> None:
        served, size = self._served(), self.clients.told.bytes
        before, sent, begun = self._used(), wire_traffic.look(), time.monotonic()
        asyncio.run(self.clients.streams("bench", STREAMS, EACH, TOKENS))
        seconds = time.monotonic() - begun
        self._note_traffic("streams", sent, seconds)
        used = self._used(before)
        tokens = STREAMS * EACH * TOKENS
        self._note_cpu("token", used["ingress"], seconds, tokens)
        self.row["tokens_per_s"] = tokens / seconds
        self.row["body_bytes_per_token"] = (self.clients.told.bytes - size) / tokens
        for kind in ("ledger", "controller"):
            self.row[f"streams_cpu_percent_{kind}"] = 100 * used[kind] / seconds
        grown = Counter(self._served())
        grown.subtract(served)
        # By chance: of 64 connections over eight the busiest has 13 or so where 8 is the mean.
        self.row["busiest_x_mean"] = max(grown.values()) * self.replicas / sum(grown.values())

    def _served(self) -> dict[int, int]:
        return {p: x["served"] for p, x in asyncio.run(_listeners(self.url)).items()}

    def _whole_answers(self) -> None:
        before, begun = self._used(), time.monotonic()
        asyncio.run(self.clients.whole_answers("bench", ASKERS, ANSWERS))
        seconds = time.monotonic() - begun
        self._note_cpu("request", self._used(before)["ingress"], seconds, ASKERS * ANSWERS)

    def _note_cpu(self, what: str, used_s: float, seconds: float, count: int) -> None:
        """CPU of all ingress replicas for each of so many, and less what they use anyway."""
        idle_s = self.row["idle_cpu_percent_each"] / 100 * self.replicas * seconds
        self.row[f"ingress_cpu_us_per_{what}"] = 1e6 * used_s / count
        self.row[f"net_ingress_cpu_us_per_{what}"] = 1e6 * (used_s - idle_s) / count

    async def _exactness(self) -> None:
        ask, begun = self.clients, time.monotonic()
        until = begun + SETTLE_S + EXACT_S
        stall_s, *_ = await asyncio.gather(
            longest_stall_s(until),
            ask.over_ceiling("fast", OVER_STREAMS, OVER_TOKENS, until),
            ask.over_permits("wide", PERMIT_CLIENTS, PERMIT_TOKENS, until),
            ask.sessions("bench", SESSIONS, TURNS, TURN_TOKENS),
        )
        seen = per_second(ask.told.times, begun + SETTLE_S, until)
        turns, at_home = ask.told.affinity()
        self.row |= {
            "ceiling_tokens_per_s": LIMIT,
            "delivered_fullest_1_s": seen["fullest_1_s"],
            "delivered_fullest_5_s_mean": seen["fullest_5_s_mean"],
            "delivered_mean_per_s": seen["mean"],
            "over_ceiling_percent": 100 * max(0.0, seen["fullest_1_s"] / LIMIT - 1),
            "client_stall_ms": 1e3 * stall_s,
            "permits": PERMITS,
            "open_at_once": ask.told.open_at_once,
            "refused": sum(ask.told.refused.values()),
            "turns_after_first": turns,
            "turns_where_the_last_was": at_home,
        }

    async def _settled(self, told: Told) -> None:
        """The store beside what clients were told, once all has been written."""
        stored = await self.usage.grown()
        off = 0
        for tenant in TENANTS:
            mine = stored[tenant]
            off += abs(mine["completion"] - told.completion[tenant])
            off += abs(mine["prompt"] - told.prompt[tenant])
            off += abs(mine["requests"] - told.requests[tenant])
        self.row["tokens_delivered"] = sum(told.completion.values())
        self.row["tokens_stored"] = sum(x["completion"] for x in stored.values())
        self.row["usage_off_by"] = off

    def _note_traffic(self, phase: str, before: list[wire_traffic.Sent], seconds: float) -> None:
        pairs = wire_traffic.by_pair(before, wire_traffic.look(), self._ports)
        wanted = {"ingress", "ledger", "controller", "lane", "gcs"}
        for (sender, taker), (size, segments) in sorted(pairs.items()):
            if size and {sender, taker} <= wanted:
                figures = {"bytes_per_s": size / seconds, "messages_per_s": segments / seconds}
                where = {"from": sender, "to": taker, "phase": phase}
                self.traffic.append({"ingress_replicas": self.replicas, **where, **figures})


def ledger() -> None:
    notes = (
        "One process, virtual time, CPU of the process: `ledger_…` reading a report, granting and "
        "writing the answer; `ingress_…` the other end. Every tenant has requests on every "
        "ingress replica and all four ceilings. `ledger_cores`: at a heartbeat every "
        f"{ledger_cost.HEARTBEAT_S} s; one process has one. Ray's part of a call is not in it. "
        f"Command: `python -m benchmarks.{NAME} --ledger`."
    )
    report.write(f"{NAME}_ledger", ledger_cost.rows(), title="A heartbeat's cost", notes=notes)


def save(rows: list[dict[str, Any]], traffic: list[dict[str, Any]], note: str) -> None:
    notes = f"{NOTES} {note}Command: `make bench-{NAME}`."
    report.write(NAME, rows, title="Many ingress replicas", notes=notes)
    notes = (
        "Bytes and TCP segments with bytes between processes, as the kernel counts them, without "
        f"the ports that tokens come through; a segment is a message or several. {note}"
        f"Command: `make bench-{NAME}`."
    )
    report.write(f"{NAME}_traffic", traffic, title="What replicas tell each other", notes=notes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", default=",".join(map(str, REPLICAS)), help="comma-separated")
    parser.add_argument("--ledger", action="store_true", help="the ledger's cost alone")
    parser.add_argument("--busy", action="store_true", help="say that the machine had other work")
    parser.add_argument("--dry", action="store_true", help="print; write no results")
    args = parser.parse_args()
    if args.ledger:
        ledger()
        return
    rows, traffic = [], []
    note = "**The machine had other work to do.** " if args.busy else ""
    for replicas in map(int, args.replicas.split(",")):
        with deployment(replicas) as found:
            run = Run(replicas, *found)
            run.measure()
        rows.append(run.row)
        traffic += run.traffic
        print(run.row, flush=True)
        if not args.dry:
            save(rows, traffic, note)
    if args.dry:
        print(report.table(rows), report.table(traffic), sep="\n\n")
        return
    ledger()
    scale.write()


if __name__ == "__main__":
    main()
