"""`pointsman classifier label`: outcomes of two served lanes, as rows to train on.

Both lanes answer every prompt, each answer is checked, and the means over the samples
are the row's `weak` and `strong`. Rows are appended as they are finished; a run that is
started again goes on after them. With `--feedback` no lane is asked: what users said of
answers becomes rows (`feedback.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

from classifier.arguments import positive
from serve_app.commands.client import DEFAULT_URL, subparser
from serve_app.commands.label.report import Tally
from serve_app.commands.label.rows import Prompt, read_prompts
from serve_app.commands.row_file import Row, UsageError

DEFAULT_KEY_ENV = "POINTSMAN_API_KEY"


def add_label(actions: Any) -> None:
    parser = subparser(
        actions,
        "label",
        "Label prompts with outcomes of two lanes of a running deployment.",
        "pointsman classifier label --prompts questions.jsonl --lanes chat,quality --samples 4",
        remote=False,
    )
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--prompts", type=Path, metavar="FILE", help=_HELP["prompts"])
    source.add_argument("--feedback", action="store_true", help=_HELP["feedback"])
    add("--lanes", type=_pair, required=True, metavar="WEAK,STRONG")
    add("--samples", type=positive, metavar="N", help=_HELP["samples"])
    add("--out", type=Path, metavar="FILE", help=_HELP["out"])
    add("--url", default=os.environ.get("POINTSMAN_URL", DEFAULT_URL))
    add("--key-env", metavar="NAME", help=_HELP["key_env"])
    add("--check", choices=["exact", "command", "judge"], help=_HELP["check"])
    add("--command", dest="program", metavar="CMD", help=_HELP["command"])
    add("--judge", metavar="LANE", help="lane that compares the answers in pairs")
    add("--max-tokens", type=positive, default=512, help="longest answer (default: 512)")
    add("--temperature", type=_temperature, default=0.7, help="of the samples (default: 0.7)")
    add("--concurrency", type=positive, default=8, help="most requests at a time (default: 8)")
    add("--signals", action="store_true", help=_HELP["signals"])
    add("--source", default="label", help="name that the rows carry (default: label)")
    parser.set_defaults(func=_label)


_HELP = {
    "prompts": "JSON lines with text or messages; id, answer or answers, and domain if known",
    "feedback": "no answers: write the feedback whose prompts are kept, of this machine's "
    "deployment, to --out",
    "samples": "answers of each lane to each prompt; a single one is taken at temperature 0",
    "out": "rows are appended to it (default: the prompts' name with .labelled.jsonl)",
    "key_env": f"environment variable with the API key (default: {DEFAULT_KEY_ENV})",
    "check": "how answers are checked (default: exact, for prompts that have an answer)",
    "signals": "rows hold what the weak lane's log-probabilities say of its answer, for "
    "`pointsman classifier cascade`",
    "command": "program that reads {prompt, answer, lane} as JSON on stdin; exit status 0 is a "
    "pass, 1 a fail",
}


def _pair(text: str) -> tuple[str, str]:
    names = [name.strip() for name in text.split(",")]
    if len(names) != 2 or not all(names) or names[0] == names[1]:
        raise argparse.ArgumentTypeError("should be two lanes, the weaker first: chat,quality")
    return names[0], names[1]


def _temperature(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError("should be 0 or more")
    return value


def _label(args: argparse.Namespace) -> int:
    """Exit status: 0, 1 (some prompts were skipped), 2 (usage) or 130 (Ctrl-C)."""
    tally = Tally()
    try:
        if args.feedback:
            return _write_feedback(args)
        out = _out(args)
        _check_options(args)
        prompts = read_prompts(args.prompts, lambda row: _check_of(row, args))
        _run(args, prompts, out, tally)
    except UsageError as error:
        print(f"pointsman: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; {out} holds what is done: run it again to go on", file=sys.stderr)
        return 130
    tally.print(out, as_json=args.json)
    return 1 if tally.failed else 0


def _write_feedback(args: argparse.Namespace) -> int:
    from serve_app.commands.label.feedback import write_feedback

    if args.out is None:
        raise UsageError("--feedback needs --out FILE")
    counts = write_feedback(args.out, *args.lanes)
    if args.json:
        print(json.dumps({"out": str(args.out), **counts}))
    else:
        print(f"{args.out}: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()))
    return 0


def _run(args: argparse.Namespace, prompts: list[Prompt], out: Path, tally: Tally) -> None:
    from serve_app.commands.label.checks import Command
    from serve_app.commands.label.run import LabelConfig, run

    variable = args.key_env or DEFAULT_KEY_ENV
    command = None
    if args.program:
        command = Command(args.program, concurrency=args.concurrency, secret=variable)
    config = LabelConfig(
        weak=args.lanes[0],
        strong=args.lanes[1],
        samples=args.samples,
        max_tokens=args.max_tokens,
        temperature=args.temperature,
        source=args.source,
        url=args.url,
        key=key_of(variable, is_needed=bool(args.key_env)),
        concurrency=args.concurrency,
        command=command,
        judge=args.judge,
        signals=args.signals,
    )
    asyncio.run(run(config, prompts, out, tally))


def _out(args: argparse.Namespace) -> Path:
    name = args.prompts.name.removesuffix(".gz").removesuffix(".jsonl")
    out: Path = args.out or args.prompts.with_name(f"{name}.labelled.jsonl")
    if out.suffix == ".gz":
        raise UsageError(f"{out}: rows are appended, so the file cannot be a .gz")
    if out.exists() and args.prompts.exists() and out.samefile(args.prompts):
        raise UsageError(f"{out}: holds the prompts; give --out another file")
    return out


def _check_options(args: argparse.Namespace) -> None:
    if args.samples is None:
        raise UsageError("--prompts needs --samples N")
    if args.check == "command" and not args.program:
        raise UsageError("--check command needs --command CMD")
    if args.check == "judge" and not args.judge:
        raise UsageError("--check judge needs --judge LANE")
    if not args.check and args.program and args.judge:
        raise UsageError("--command and --judge: say with --check which of them")
    if args.samples > 1 and args.temperature == 0:
        raise UsageError("--temperature 0 makes all samples the same: take --samples 1")


def _check_of(row: Row, args: argparse.Namespace) -> str | None:
    has_answer = "answer" in row or "answers" in row
    if args.check == "exact" or (has_answer and not args.check):
        return "exact" if has_answer else None
    if args.check:
        return str(args.check)
    return "command" if args.program else "judge" if args.judge else None


def key_of(variable: str, *, is_needed: bool) -> str:
    """The API key; empty where none is set. No message may hold it."""
    key = os.environ.get(variable, "").strip()
    if is_needed and not key:
        raise UsageError(f"--key-env: '{variable}' is not set or empty")
    if not (key.isascii() and key.isprintable()):
        raise UsageError(f"the key in '{variable}' has characters that no key has")
    return key
