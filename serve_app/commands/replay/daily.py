"""The daily replay: yesterday's traffic, its place in the history, and how a cluster runs it."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from evals.replay.history import Day, alike
from evals.replay.scoring import Summary
from serve_app.advice.replays import read_history
from serve_app.config.private_files import private, private_folder

KEEP_DAYS = 7
"""For which the folders of runs without `--out` are kept."""

OF_FILES = ("--gold", "--traces", "--out", "--classifier")
OF_FILES_OR_NAMES = ("--fleet", "--of-fleet", "--tenants")

MOST_DAYS = 60
"""Of the trend that a page shows."""


def yesterday(now: datetime) -> date:
    """Return the last whole day in UTC."""
    return (now.astimezone(UTC) - timedelta(days=1)).date()


def prune(folder: Path, today: date) -> None:
    """Delete runs of days long ago: prompts should not outlive the traces that they are from.

    Only folders that a run without `--out` made, which begin with their day.
    """
    for path in folder.glob("????-??-??-*") if folder.is_dir() else ():
        try:
            of = date.fromisoformat(path.name[:10])
        except ValueError:
            continue
        if today - of > timedelta(days=KEEP_DAYS):
            shutil.rmtree(path)


def add_day(path: Path, day: Day) -> list[Day]:
    """Append a result; return those that compare with it, this one last."""
    private_folder(path.parent)
    with open(path, "a", encoding="utf-8", opener=private) as file:
        file.write(day.line())
    return alike(read_history(path), day)[-MOST_DAYS:]


def day_of(at: float, of: date, lane: str, against: str, summary: Summary) -> Day:
    """Return a run's result as the history keeps it."""
    return Day(
        at=at,
        day=of.isoformat(),
        lane=lane,
        against=against,
        cases=summary.cases,
        calls_wanted=summary.selection.wanted,
        selection_f1=summary.selection.f1,
        rare_selection_f1=summary.rare_selection.f1,
        call_f1=summary.calls.f1,
        answers=summary.answers_gate.candidate,
        verdicts={name: gate.verdict.value for name, gate in summary.gates.items()},
        tools={
            tool: counts.f1
            for tool, counts in summary.selection_by_tool.items()
            if counts.f1 is not None and counts.wanted
        },
    )


def job_command(address: str, words: Sequence[str]) -> str:
    """Return the command that runs the same on a Ray cluster, by its dashboard's address.

    The job takes a tenth of a core on the head node, where the state directory is, and no card:
    it asks lanes that are served already. `pointsman run` has Ray's token; a key of Pointsman's is
    not in the command, which the dashboard shows: the head's environment has it. Too few cases to
    tell (3) is no failed job.
    """
    kept = {
        name: os.environ[name]
        for name in ("POINTSMAN_STATE", "POINTSMAN_HOME", "POINTSMAN_URL")
        if name in os.environ
    }
    given = [f"{name}={shlex.quote(value)}" for name, value in kept.items()]
    entry = ["env", *given] if given else []
    whole = whole_paths(words, Path.cwd())
    entry += [sys.executable, "-m", "serve_app.cli", "replay", *map(shlex.quote, whole)]
    job = ["pointsman", "run", "--", "ray", "job", "submit", "--address", address]
    # Ray joins the words and quotes each, so that a whole line is a shell's.
    script = ["sh", "-c", f"{' '.join(entry)} || [ $? -eq 3 ]"]
    return shlex.join([*job, "--entrypoint-num-cpus", "0.1", "--", *script])


def whole_paths(words: Sequence[str], folder: Path) -> list[str]:
    """Return a command's words with whole paths: a job begins in a directory of Ray's."""
    found: list[str] = []
    option = ""
    for word in words:
        name, sign, value = word.partition("=")
        if not word.startswith("--"):
            found.append(_whole(option, word, folder))
        else:
            found.append(f"{name}={_whole(name, value, folder)}" if sign else word)
        option = word if word.startswith("--") else ""
    return found


def _whole(option: str, value: str, folder: Path) -> str:
    if not option:
        return value
    # argparse takes the beginning of an option for it.
    is_path = any(x.startswith(option) for x in OF_FILES)
    may_be = any(x.startswith(option) for x in OF_FILES_OR_NAMES) and (folder / value).is_file()
    return str(folder / value) if is_path or may_be else value
