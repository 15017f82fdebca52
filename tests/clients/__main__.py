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
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from serve_app.commands.connect import Setting, render
from serve_app.commands.connect_recipes import RECIPES
from simulator.script.model import Fault
from tests.clients import setups
from tests.clients.kills import Loss, Replicas
from tests.clients.recorder import Exchange, Recorder
from tests.clients.servers import TASK, WINDOW_TOKENS, embedded, engine, losing, pointsman
from tests.clients.setups import CLIENTS, HERE, INSTALLED, Client

TIMEOUT_S = 120.0
PROMPT = (
    "Workspace folder: {folder} . List its files, read notes.txt, replace beta by gamma in it, "
    "sort its lines backwards into sorted.txt with a command, and say when it is done."
)
LAST_WORDS = "The notes say gamma"
HELLO = "said: Notes task"
FORCED = "Set the lamp in the kitchen to half of its light."
_FAULTS = [fault.value for fault in Fault if fault is not Fault.NO_CALL]
"""What may be wrong with a call. An answer that only says that it calls looks like any other
answer in text on `/v1/responses`, so nobody could mend it."""

SPARE_REPLICAS = 1
"""With `--kill`: one for each run at once, and one that they go on with."""


@dataclass(frozen=True, slots=True)
class World:
    """What all runs share.

    Attributes:
        port: of the server under test.
        model: that clients ask for.
        texts: what `pointsman connect` prints, by client.
        replicas: of which each run loses one; None: no run does.
        record: where exchanges are kept; None: nowhere.

    """

    port: int
    model: str
    texts: Mapping[str, Sequence[str]]
    replicas: Replicas | None
    jobs: int
    record: Path | None


@dataclass(frozen=True, slots=True)
class Result:
    """One run: how long it took, what was wrong, and how many streams lost their replica."""

    took_s: float
    faults: Sequence[str]
    hit: int


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
        print(
            f"{'client':30} {'version':9} {'route':21} {'ok':>7} {'hit':>4} {'seconds':>8}"
            "  what failed"
        )
        good = [
            _print(client, _runs(client, world, args.runs))
            for client in wanted
            if client not in missing
        ]
        if replicas is not None:
            print(f"replicas killed: {replicas.killed}; streams went on: {_recoveries(port)}")
    for client in missing:
        print(f"{client.name}: could not be installed ({client.package})", file=sys.stderr)
    return 0 if all(good) else 1


def _is_wanted(client: Client, args: argparse.Namespace) -> bool:
    if args.only:
        return client.name in args.only
    if args.engine == "real":
        return client.does == "forced"
    if args.kill or args.corrupt or args.through == "engine":
        return client.does == "task" and (client.is_streamed or not args.kill)
    return client.does != "forced"


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


def _runs(client: Client, world: World, count: int) -> list[Result]:
    with ThreadPoolExecutor(world.jobs) as pool:
        return list(pool.map(lambda number: run(client, world, number), range(count)))


def _print(client: Client, results: Sequence[Result]) -> bool:
    """Print a client's line; whether all was well."""
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


def run(client: Client, world: World, number: int) -> Result:
    """One run."""
    loss = None
    if world.replicas is not None:
        world.replicas.await_loaded(2)
        loss = Loss(world.replicas, f"{client.name} {number}")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        home, workspace = Path(folder) / "home", Path(folder) / "work"
        home.mkdir()
        workspace.mkdir()
        (workspace / "notes.txt").write_text("alpha\nbeta\n")
        prompt = FORCED if client.does == "forced" else PROMPT.format(folder=workspace)
        start = client.prepare(setups.Run(home, workspace, world.model, prompt, world.texts))
        watch = None if loss is None else loss.watch
        recorder = stack.enter_context(Recorder(Path(folder) / "server", world.port, watch))
        env = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "TERM": "dumb"}
        begun = time.monotonic()
        code, said = _sandboxed(
            [str(Path(folder) / "server"), "8000", *start.command], workspace, env | start.env
        )
        took = time.monotonic() - begun
        exchanges = recorder.exchanges()
        faults = [*_faults(client, workspace, code, said), *_refusals(exchanges, client.route)]
        if loss is not None and not loss.hit:
            faults.append("no replica was killed in its streams")
        if world.record is not None:
            world.record.mkdir(parents=True, exist_ok=True)
            _write(world.record / f"{client.name}-{number}.json", exchanges, said)
        return Result(took, faults, 0 if loss is None else loss.hit)


def _sandboxed(arguments: list[str], workspace: Path, env: dict[str, str]) -> tuple[int, str]:
    """Run in a network namespace of its own; the exit code and all that was printed."""
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
    command = ["unshare", "--user", "--map-root-user", "--net", python, str(HERE / "sandbox.py")]
    process = subprocess.Popen(
        [*command, *arguments],
        cwd=workspace,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        return 124, said
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, said


def _faults(client: Client, workspace: Path, code: int, said: str) -> list[str]:
    faults = []
    if code:
        faults.append("not within its time" if code == 124 else f"exit code {code}")
    if client.does != "task":
        wanted = HELLO if client.does == "hello" else "called set_lamp "
        return faults if wanted in said else [*faults, "it has no answer"]
    if (workspace / "notes.txt").read_text() != "alpha\ngamma\n":
        faults.append("the file was not edited")
    made = workspace / "sorted.txt"
    if not made.exists() or made.read_text() != "gamma\nalpha\n":
        faults.append("the command did not run")
    if LAST_WORDS not in said:
        faults.append("the last answer was not shown")
    return faults


def _refusals(exchanges: list[Exchange], route: str) -> list[str]:
    """Requests that were answered with an error, and a route that was never asked.

    HEAD is left out: Claude Code looks with it whether anybody is there at all.
    """
    faults = [
        f"{x.method} {x.path} {x.status}"
        for x in exchanges
        if x.method != "HEAD" and (x.status >= 400 or not x.status)
    ]
    if not any(x.path == route for x in exchanges):
        faults.append(f"{route} was not asked")
    return faults


def _write(path: Path, exchanges: list[Exchange], said: str) -> None:
    rows = [
        asdict(x) | {"body": x.json(), "answer": x.answer.decode("utf-8", "replace")}
        for x in exchanges
    ]
    path.write_text(json.dumps({"exchanges": rows, "printed": said}, indent=1))


if __name__ == "__main__":
    sys.exit(main())
