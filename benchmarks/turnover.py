"""Ingress replicas that come and go under load: how many connections are reset.

    make bench-turnover
    python -m benchmarks.turnover --redeploys 10 --haproxy

A deployment over simulated engines is deployed again and again, with two ingress replicas and
with one in turn, each time with all processes replaced. Clients ask `/health` meanwhile, each time
over a new connection or all over one that they keep. While no ingress replica is there at all,
HAProxy answers 503: that is no reset.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import yaml

from benchmarks.support.deployment import ROOT, deployed, pids_of, serve_config

INGRESS = "ray::ServeReplica:pointsman:ingress"
FLEET = ROOT / "benchmarks" / "disconnects_fleet.yaml"
TENANTS = ROOT / "configs" / "tenants.yaml"
PAUSE_S = 0.01
REPLACED_S = 300.0


async def ask(url: str, ends: Counter[str], *, keeps: bool) -> None:
    """Ask until cancelled, and count how each request ends."""
    limits = httpx.Limits(max_keepalive_connections=1 if keeps else 0)
    way = "kept" if keeps else "new"
    async with httpx.AsyncClient(timeout=60, limits=limits) as client:
        while True:
            try:
                answer = await client.get(f"{url}/health")
                ends[f"{way} {answer.status_code}"] += 1
            except httpx.HTTPError as error:
                ends[f"{way} {type(error).__name__}"] += 1
            await asyncio.sleep(PAUSE_S)


async def turn_over(fleet: Path, replicas: int, revision: int, *, listens: bool) -> float:
    """Replace every process; returns how many seconds it took."""
    before, began = set(pids_of(INGRESS)), time.monotonic()
    write(fleet, replicas, listens=listens)
    config = serve_config()
    args = {"fleet": str(fleet), "tenants": str(TENANTS), "revision": str(revision)}
    config["applications"][0]["args"] |= args
    path = fleet.with_name("serve.yaml")
    path.write_text(yaml.safe_dump(config))
    serve = str(Path(sys.executable).with_name("serve"))
    command = [serve, "deploy", str(path)]
    await asyncio.to_thread(subprocess.run, command, check=True, cwd=ROOT, capture_output=True)
    while (now := set(pids_of(INGRESS))) & before or len(now) != replicas:
        if time.monotonic() - began > REPLACED_S:
            raise TimeoutError(f"ingress replicas after {REPLACED_S:.0f} s: {now}, before {before}")
        await asyncio.sleep(0.5)
    return time.monotonic() - began


def write(fleet: Path, replicas: int, *, listens: bool) -> None:
    """Write the fleet file with so many ingress replicas."""
    content: dict[str, Any] = yaml.safe_load(FLEET.read_text())
    content["ingress"] |= {"replicas": replicas, "listens": listens}
    fleet.write_text(yaml.safe_dump(content))


async def load(url: str, fleet: Path, redeploys: int, *, listens: bool) -> dict[str, Any]:
    """All redeploys under twelve clients."""
    ends: Counter[str] = Counter()
    clients = [asyncio.create_task(ask(url, ends, keeps=n % 3 == 0)) for n in range(12)]
    took = [await turn_over(fleet, 2 - n % 2, n, listens=listens) for n in range(1, redeploys + 1)]
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    return {"redeploys": redeploys, "took_s": [round(x, 1) for x in took], "ends": dict(ends)}


def main() -> None:
    """Run it, and print what clients saw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redeploys", type=int, default=10)
    parser.add_argument("--haproxy", action="store_true", help="through HAProxy alone")
    options = parser.parse_args()
    listens = not options.haproxy
    with tempfile.TemporaryDirectory() as folder:
        fleet = Path(folder) / "fleet.yaml"
        write(fleet, 2, listens=listens)
        with deployed(fleet=str(fleet), tenants=str(TENANTS)) as url:
            found = asyncio.run(load(url, fleet, options.redeploys, listens=listens))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
