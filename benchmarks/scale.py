"""The figures of `docs/scale.md`, reckoned from what was measured.

    python -m benchmarks.scale            # writes them into the page
    python -m benchmarks.scale --print

What is measured is read from `results/overhead.json` and `results/ingress_replicas*.json`; what is
asked for is `DEMAND`. A test fails where the page does not say what comes out.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from typing import Any

from benchmarks.support import report
from benchmarks.support.deployment import ROOT
from serve_app.config.admission import LedgerConfig
from serve_app.tenancy.meter import FLUSH_S

PAGE = ROOT / "docs/scale.md"
BEGIN, END = "<!-- python -m benchmarks.scale -->\n", "<!-- end -->\n"
WAYS = ("pointsman", "vllm-router", "ray-throughput", "ray", "litellm")
OVERHEAD_TOKENS = 100
"""Tokens of a stream of `benchmarks.overhead`: its figure a token has this part of a request."""


@dataclass(frozen=True)
class Demand:
    """The consumer chat that is asked for, and how it is divided.

    Attributes:
        requests_per_s, stream_s, tokens: the seed's: 50,000 turns a second, 19 s and 300
            tokens each.
        busy: share of a core that an ingress replica is planned to use.
        cell: ingress replicas of one deployment.
        slots: streams that a lane replica holds at once.
        packet_bytes: TCP and IP headers of a token's packet, on each hop.
        keep_alive_s: how long a client's connection stays after its answer, if it is not used.

    """

    requests_per_s: int = 50_000
    stream_s: float = 19.0
    tokens: int = 300
    busy: float = 0.6
    cell: int = 32
    slots: int = 256
    packet_bytes: int = 52
    keep_alive_s: float = 90.0

    @property
    def streams(self) -> float:
        return self.requests_per_s * self.stream_s

    @property
    def tokens_per_s(self) -> int:
        return self.requests_per_s * self.tokens


DEMAND = Demand()


def read(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((report.RESULTS / f"{name}.json").read_text())["rows"]
    return found


def cores(row: dict[str, Any], demand: Demand = DEMAND) -> tuple[float, float]:
    """Cores for tokens and for requests, of a row of `overhead.json`.

    A stream there is one request and 100 tokens, so a token alone is its figure less a
    hundredth of what a request costs.
    """
    request_us = row["path_cpu_us_per_request"]
    token_us = row["path_cpu_us_per_token"] - request_us / OVERHEAD_TOKENS
    return demand.tokens_per_s * token_us / 1e6, demand.requests_per_s * request_us / 1e6


def ways_table(overhead: list[dict[str, Any]], demand: Demand = DEMAND) -> str:
    """What the demand takes by each way in, beside its figures."""
    known = {row["way"]: row for row in overhead}
    rows = []
    for way in WAYS:
        row = known[way]
        for_tokens, for_requests = cores(row, demand)
        whole = for_tokens + for_requests
        rows.append(
            {
                "way": way,
                "µs a token": _n(row["path_cpu_us_per_token"]),
                "µs a request": _n(row["path_cpu_us_per_request"]),
                "cores for tokens": _n(for_tokens),
                "for requests": _n(for_requests),
                f"at {demand.busy:.0%} busy": _n(whole / demand.busy),
                "streams a core": _n(demand.streams * demand.busy / whole),
            }
        )
    return report.table(rows)


def rate(traffic: list[dict[str, Any]], replicas: int, one: str, other: str, what: str) -> float:
    """Bytes (or messages) a second between two kinds of processes, both ways, under streams."""
    ends = {(one, other), (other, one)}
    return sum(
        float(row[what])
        for row in traffic
        if row["ingress_replicas"] == replicas
        and row["phase"] == "streams"
        and (row["from"], row["to"]) in ends
    )


PAIRS = {
    "among ingress replicas": ("ingress", "ingress"),
    "ingress and ledger": ("ingress", "ledger"),
    "Serve's controller to ingress": ("ingress", "controller"),
    "ingress asks lanes": ("ingress", "lane"),
}


def traffic_table(traffic: list[dict[str, Any]]) -> str:
    """Kilobytes a second of routing state by the number of ingress replicas."""
    counts = sorted({row["ingress_replicas"] for row in traffic})
    rows = []
    for title, pair in PAIRS.items():
        row: dict[str, Any] = {"KB/s": title}
        for count in counts:
            row[f"{count}"] = _n(rate(traffic, count, *pair, "bytes_per_s") / 1e3)
        row[f"messages/s at {counts[-1]}"] = _n(rate(traffic, counts[-1], *pair, "messages_per_s"))
        rows.append(row)
    return report.table(rows)


def figures(
    overhead: list[dict[str, Any]],
    replicas: list[dict[str, Any]],
    traffic: list[dict[str, Any]],
    ledger: list[dict[str, Any]],
    demand: Demand = DEMAND,
) -> dict[str, float]:
    """What the demand takes, by name."""
    mine = next(row for row in overhead if row["way"] == "pointsman")
    most = max(replicas, key=lambda row: row["ingress_replicas"])
    whole = sum(cores(mine, demand))
    ingresses = math.ceil(whole / demand.busy)
    cells = math.ceil(ingresses / demand.cell)
    lanes = math.ceil(demand.streams / demand.slots / cells)
    # To the engine; to the client, while it streams and as long as it is kept.
    connections = demand.streams * 2 + demand.requests_per_s * demand.keep_alive_s
    wire = most["body_bytes_per_token"] + demand.packet_bytes
    n, known_lanes = most["ingress_replicas"], 5

    def of(one: str, other: str) -> float:
        return rate(traffic, n, one, other, "bytes_per_s")

    beat = next(x for x in ledger if (x["replicas"], x["tenants"]) == (demand.cell, 100))
    beats = demand.cell / LedgerConfig().heartbeat_s
    # Ray's part of each heartbeat and the look into the store: what a ledger without tenants takes.
    calls = most["idle_cpu_percent_ledger"] / 100 * demand.cell / n
    for_tenants = beats * beat["ledger_us_per_heartbeat"] / 1e6
    return {
        "ingress replicas": ingresses,
        f"deployments of {demand.cell} (cells)": cells,
        "lane replicas a cell": lanes,
        "streams an ingress replica": demand.streams / ingresses,
        "requests a second an ingress replica": demand.requests_per_s / ingresses,
        "connections an ingress replica, if no client comes back": connections / ingresses,
        "connections a cell, if no client comes back": connections / cells,
        "new connections a second a cell, if no client comes back": demand.requests_per_s / cells,
        "memory of ingress replicas a cell, GiB": demand.cell * most["rss_mib_each"] / 1024,
        "network a hop, all cells, Gbit/s": 8e-9 * wire * demand.tokens_per_s,
        "network a hop a cell, Gbit/s": 8e-9 * wire * demand.tokens_per_s / cells,
        "usage lines a second a cell": demand.requests_per_s / cells,
        "store transactions a second a cell": demand.cell / FLUSH_S,
        "ledger, cores a cell: calls": calls,
        "ledger, cores a cell: 100 tenants active on every replica": for_tenants,
        "state among ingress replicas a cell, MB/s": 1e-6
        * of("ingress", "ingress") * (demand.cell / n) ** 2,
        "state with the ledger a cell, MB/s": 1e-6 * of("ingress", "ledger") * demand.cell / n,
        "state from Serve's controller a cell, MB/s": 1e-6
        * of("ingress", "controller") * demand.cell / n * lanes / known_lanes,
        "ingress asks lanes a cell, MB/s": 1e-6
        * of("ingress", "lane") * demand.cell / n * lanes / known_lanes,
        "tenants active on every replica that fill a cell's ledger": 100
        * (1 - calls) / for_tenants,
    }  # fmt: skip


def replicas_table(replicas: list[dict[str, Any]]) -> str:
    """What was measured by the number of ingress replicas."""
    names = {
        "ingress_replicas": "ingress replicas",
        "net_ingress_cpu_us_per_token": "µs a token, net",
        "net_ingress_cpu_us_per_request": "µs a request, net",
        "idle_cpu_percent_each": "idle, % of a core each",
        "streams_cpu_percent_ledger": "ledger, %",
        "streams_cpu_percent_controller": "controller, %",
        "rss_mib_each": "MiB each",
        "busiest_x_mean": "busiest / mean",
        "delivered_fullest_5_s_mean": "tokens/s, ceiling 400",
        "open_at_once": "at once, of 16",
        "usage_off_by": "usage off by",
    }
    rows = [
        {
            **{title: _n(row[key]) if key in row else "" for key, title in names.items()},
            "turns where the last was": f"{row['turns_where_the_last_was']} of "
            f"{row['turns_after_first']}",
        }
        for row in replicas
    ]
    return report.table(rows)


def _n(value: float) -> str:
    """Three digits, or all before the point."""
    if value >= 100 or value == round(value):
        return f"{round(value):,}"
    return f"{value:.3g}"


def render() -> str:
    overhead, replicas = read("overhead"), read("ingress_replicas")
    traffic, ledger = read("ingress_replicas_traffic"), read("ingress_replicas_ledger")
    whole = [
        {"for 50,000 requests/s": name, "": _n(value)}
        for name, value in figures(overhead, replicas, traffic, ledger).items()
    ]
    parts = {
        "**Measured, by ingress replicas** (`make bench-ingress_replicas`; "
        "[table](../benchmarks/results/ingress_replicas.md))": replicas_table(replicas),
        "**State on the wire under streams, by ingress replicas** "
        "([table](../benchmarks/results/ingress_replicas_traffic.md))": traffic_table(traffic),
        "**Cores, by what stands in front of the engines** (`make bench-overhead`; "
        "[table](../benchmarks/results/overhead.md))": ways_table(overhead),
        "**The whole**": report.table(whole),
    }
    return "\n\n".join(f"{title}\n\n{table}" for title, table in parts.items()) + "\n"


def page(text: str, tables: str) -> str:
    """The page with these tables in the place of those that it has."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables}\n{END}{after}"


def write() -> None:
    PAGE.write_text(page(PAGE.read_text(), render()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--print", action="store_true", help="write nothing")
    if parser.parse_args().print:
        print(render())
    else:
        write()


if __name__ == "__main__":
    main()
