"""One run of a client: its sandbox, what it was asked, and whether it has done it."""

from __future__ import annotations

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
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.clients import setups
from tests.clients.kills import Loss, Replicas
from tests.clients.recorder import Exchange, Recorder
from tests.clients.setups import HERE, Client

TIMEOUT_S = 120.0
PROMPT = (
    "Workspace folder: {folder} . List its files, read notes.txt, replace beta by gamma in it, "
    "sort its lines backwards into sorted.txt with a command, and say when it is done."
)
LAST_WORDS = "The notes say gamma"
FORCED = "Set the lamp in the kitchen to half of its light."
WANTED = {"hello": "said: Notes task", "forced": "called set_lamp ", "example": "in stock\nstep 2"}
"""What a client prints that has done something else than the task."""


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


MISSED = "no replica was killed in its streams"
"""What is wrong with a run whose stream ended before its replica was to be killed."""


@dataclass(frozen=True, slots=True)
class Result:
    """One run: how long it took, what was wrong, and how many streams lost their replica."""

    took_s: float
    faults: Sequence[str]
    hit: int


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
            faults.append(MISSED)
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
        return faults if WANTED[client.does] in said else [*faults, "it has no answer"]
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
