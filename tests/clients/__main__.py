"""Real clients do a small task, through Pointsman or on the scripted engine alone.

    python -m tests.clients [--through pointsman|engine] [--runs N] [--jobs N] [--only NAME ...]
                            [--corrupt SHARE] [--kill] [--record FOLDER]
    python -m tests.clients --engine real

Each run has a workspace and a home of its own, and no network but the server under test. It
counts when the workspace is as the task wants it, the command has run, the client ended well,
and no request of it was refused; with `--kill` it also has to have lost a replica in the middle
of a stream. `--engine real` has the SDKs demand a call of the embedded model.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from serve_app.commands.connect import Setting, render
from serve_app.commands.connect_recipes import RECIPES
from simulator.script.model import Fault
from tests.clients import setups
from tests.clients.kills import Replicas
from tests.clients.runs import MISSED, Result, World, run
from tests.clients.servers import TASK, WINDOW_TOKENS, embedded, engine, losing, pointsman
from tests.clients.setups import CLIENTS, INSTALLED, Client

_FAULTS = [fault.value for fault in Fault if fault is not Fault.NO_CALL]
"""What may be wrong with a call. An answer that only says that it calls looks like any other
answer in text on `/v1/responses`, so nobody could mend it."""

TRIES_TO_HIT = 3

SPARE_REPLICAS = 1
"""With `--kill`: one for each run at once, and one that they go on with."""


def main() -> int:
    """Install, run, print the table; 0 where every run of every installed client succeeded."""
    parser = argparse.ArgumentParser(prog="tests.clients")
    parser.add_argument("--through", choices=("pointsman", "engine"), default="pointsman")
    parser.add_argument("--engine", choices=("scripted", "real"), default="scripted")
    parser.add_argument(
        "--model", default="auto", help="behind Pointsman; a lane's is scripted-chat"
    )
    parser.add_argument("--runs", type=int, default=1, metavar="N")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at once")
    parser.add_argument(
        "--within", type=float, default=float("inf"), metavar="S", help="begin no run after"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--corrupt", type=float, default=0, metavar="SHARE", help="of calls")
    parser.add_argument("--kill", action="store_true", help="a replica in each run's streams")
    parser.add_argument("--record", type=Path, help="folder for what was sent and answered")
    args = parser.parse_args()
    if unknown := set(args.only) - {client.name for client in CLIENTS}:
        parser.error(f"no such client: {', '.join(sorted(unknown))}")
    if args.kill and (args.through == "engine" or args.engine == "real"):
        parser.error("--kill needs Pointsman, over scripted engines")
    subprocess.run(["scripts/install-clients"], check=True, cwd=INSTALLED.parents[1])
    wanted = [client for client in CLIENTS if _is_wanted(client, args)]
    missing = [client for client in wanted if not client.program.exists()]
    with contextlib.ExitStack() as stack:
        port, model = stack.enter_context(_server(args, stack))
        replicas = Replicas() if args.kill else None
        texts = _rendered(model) if args.through == "engine" else _printed(port, model)
        world = World(port, model, texts, replicas, args.jobs, args.record)
        there = [client for client in wanted if client not in missing]
        found = _runs(there, world, args.runs, args.within)
        print(
            f"{'client':30} {'version':9} {'route':21} {'ok':>7} {'hit':>4} {'seconds':>8}"
            "  what failed"
        )
        good = [_print(client, found[client.name]) for client in there]
        if replicas is not None:
            print(f"replicas killed: {replicas.killed}; streams went on: {_recoveries(port)}")
    for client in missing:
        print(f"{client.name}: could not be installed ({client.package})", file=sys.stderr)
    return 0 if all(good) else 1


def _is_wanted(client: Client, args: argparse.Namespace) -> bool:
    if args.only:
        return client.name in args.only
    if args.engine == "real":
        return client.does in ("forced", "example")
    if args.kill or args.corrupt or args.through == "engine":
        return client.does == "task" and (client.is_streamed or not args.kill)
    return client.does in ("task", "hello")


def _server(
    args: argparse.Namespace, stack: contextlib.ExitStack
) -> contextlib.AbstractContextManager[tuple[int, str]]:
    if args.engine == "real":
        return embedded(args.model)
    script = TASK
    if args.corrupt:
        script = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "task.yaml"
        script.write_text(f"{TASK.read_text()}\ncorrupt: {args.corrupt}\nfaults: {_FAULTS}\n")
    if args.kill:
        return losing(script, args.jobs + SPARE_REPLICAS)
    return engine(script) if args.through == "engine" else pointsman(script, args.model)


def _printed(port: int, model: str) -> dict[str, list[str]]:
    """What `pointsman connect` prints for the server, as clients in their sandbox see it."""
    url, found = f"http://127.0.0.1:{port}", {}
    for name in setups.PRINTED:
        command = [str(Path(sys.executable).with_name("pointsman")), "connect", name]
        done = subprocess.run(
            [*command, "--url", url, "--model", model, "--json"],
            capture_output=True,
            text=True,
            check=True,
        )
        parts = json.loads(done.stdout)["parts"]
        found[name] = [part["text"].replace(url, setups.URL) for part in parts]
    return found


def _rendered(model: str) -> dict[str, list[str]]:
    """The same for an engine by itself, which has no card of a model to ask for."""
    setting = Setting(setups.URL, model, model, WINDOW_TOKENS, has_key=False)
    return {
        recipe.name: [render(recipe, part, setting) for part in recipe.parts]
        for recipe in RECIPES
        if recipe.name in setups.PRINTED
    }


def _recoveries(port: int) -> dict[str, int]:
    """Pointsman's own count of what became of streams that broke off."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
    found: dict[str, int] = {}
    for line in text.splitlines():
        if line.startswith("pointsman_stream_recoveries_total{"):
            outcome = line.partition('outcome="')[2].partition('"')[0]
            found[outcome] = found.get(outcome, 0) + int(float(line.split()[-1]))
    return found


def _runs(
    clients: Sequence[Client], world: World, count: int, within_s: float
) -> dict[str, list[Result]]:
    """Results by client. All have had a run before one has another."""
    until = time.monotonic() + within_s
    found: dict[str, list[Result]] = {client.name: [] for client in clients}

    def one(pair: tuple[int, Client]) -> None:
        number, client = pair
        if time.monotonic() < until:
            found[client.name].append(_hit(client, world, number))

    with ThreadPoolExecutor(world.jobs) as pool:
        list(pool.map(one, itertools.product(range(count), clients)))
    return found


def _hit(client: Client, world: World, number: int) -> Result:
    """One run; again where all went well because its stream had ended before the kill."""
    for _ in range(TRIES_TO_HIT - 1):
        result = run(client, world, number)
        if list(result.faults) != [MISSED]:
            return result
    return run(client, world, number)


def _print(client: Client, results: Sequence[Result]) -> bool:
    """Print a client's line; whether all was well."""
    if not results:
        print(f"{client.name:30} {client.version():9} {client.route:21}   0/0")
        return True
    faults = sorted({fault for result in results for fault in result.faults})
    good = sum(not result.faults for result in results)
    seconds = sorted(result.took_s for result in results)[len(results) // 2]
    hit = sum(result.hit for result in results)
    print(
        f"{client.name:30} {client.version():9} {client.route:21} "
        f"{good:3}/{len(results):<3} {hit:4} {seconds:8.1f}  {'; '.join(faults)}",
        flush=True,
    )
    return good == len(results)


if __name__ == "__main__":
    sys.exit(main())
