"""Real clients do a small task, through Pointsman or on the scripted engine alone.

    python -m tests.clients [--through pointsman|engine] [--runs N] [--only NAME ...]
                            [--corrupt SHARE] [--record FOLDER]

Each run has a workspace and a home of its own, and no network but the server under test. It
counts when the workspace is as the task wants it, the command has run, the client ended well,
and no request of it was refused.
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
from dataclasses import asdict
from pathlib import Path

from tests.clients.recorder import Exchange, Recorder
from tests.clients.servers import TASK, engine, pointsman
from tests.clients.setups import CLIENTS, HERE, INSTALLED, Client

TIMEOUT_S = 120.0
PROMPT = (
    "Workspace folder: {folder} . List its files, read notes.txt, replace beta by gamma in it, "
    "sort its lines backwards into sorted.txt with a command, and say when it is done."
)
LAST_WORDS = "The notes say gamma"


def main() -> int:
    """Install, run, print the table; 0 where every run of every installed client succeeded."""
    parser = argparse.ArgumentParser(prog="tests.clients")
    parser.add_argument("--through", choices=("pointsman", "engine"), default="pointsman")
    parser.add_argument(
        "--model", default="auto", help="behind Pointsman; a lane's is scripted-chat"
    )
    parser.add_argument("--runs", type=int, default=1, metavar="N")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--corrupt", type=float, default=0, metavar="SHARE", help="of calls")
    parser.add_argument("--record", type=Path, help="folder for what was sent and answered")
    args = parser.parse_args()
    if unknown := set(args.only) - {client.name for client in CLIENTS}:
        parser.error(f"no such client: {', '.join(sorted(unknown))}")
    subprocess.run(["scripts/install-clients"], check=True, cwd=INSTALLED.parents[1])
    wanted = [client for client in CLIENTS if not args.only or client.name in args.only]
    missing = [client for client in wanted if not client.program.exists()]
    failed = 0
    with contextlib.ExitStack() as stack:
        script = TASK
        if args.corrupt:
            script = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "task.yaml"
            script.write_text(f"{TASK.read_text()}\ncorrupt: {args.corrupt}\n")
        server = engine(script) if args.through == "engine" else pointsman(script, args.model)
        port, model = stack.enter_context(server)
        print(f"{'client':24} {'version':9} {'route':21} {'ok':>7} {'seconds':>8}  what failed")
        for client in wanted:
            if client in missing:
                continue
            runs = [run(client, port, model, args.record) for _ in range(args.runs)]
            faults = sorted({fault for _, found in runs for fault in found})
            good = sum(not found for _, found in runs)
            seconds = sorted(took for took, _ in runs)[len(runs) // 2]
            failed += len(runs) - good
            print(
                f"{client.name:24} {client.version():9} {client.route:21} "
                f"{good:3}/{len(runs):<3} {seconds:8.1f}  {'; '.join(faults)}",
                flush=True,
            )
    for client in missing:
        print(f"{client.name}: could not be installed ({client.package})", file=sys.stderr)
    return 1 if failed else 0


def run(client: Client, port: int, model: str, record: Path | None) -> tuple[float, list[str]]:
    """One run: how long it took, and what was wrong with it."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        home, workspace = Path(folder) / "home", Path(folder) / "work"
        home.mkdir()
        workspace.mkdir()
        (workspace / "notes.txt").write_text("alpha\nbeta\n")
        start = client.prepare(home, workspace, model, PROMPT.format(folder=workspace))
        recorder = stack.enter_context(Recorder(Path(folder) / "server", port))
        env = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "TERM": "dumb"}
        begun = time.monotonic()
        code, said = _sandboxed(
            [str(Path(folder) / "server"), "8000", *start.command], workspace, env | start.env
        )
        took = time.monotonic() - begun
        exchanges = recorder.exchanges()
        faults = [*_faults(workspace, code, said), *_refusals(exchanges, client.route)]
        if record is not None:
            record.mkdir(parents=True, exist_ok=True)
            _write(record / f"{client.name}.json", exchanges, said)
        return took, faults


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


def _faults(workspace: Path, code: int, said: str) -> list[str]:
    faults = []
    if code:
        faults.append("not within its time" if code == 124 else f"exit code {code}")
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
