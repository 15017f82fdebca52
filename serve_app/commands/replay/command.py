"""`pointsman replay`: traces and gold cases against a candidate lane, classifier or policy.

Exit status: 0 (no gate fails, and each has cases enough), 1 (a gate fails), 3 (too few cases to
tell), 4 (some were not answered: run it again to go on), 2 (usage).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from serve_app.commands.client import CommandError
from serve_app.commands.replay.arguments import add_arguments
from serve_app.commands.row_file import UsageError
from serve_app.commands.traces import store_of
from serve_app.config.settings import state_dir

PASSED, FAILED, UNKNOWN, LEFT = 0, 1, 3, 4


def add_commands(subparsers: Any) -> None:
    add_arguments(subparsers).set_defaults(func=_replay)


def _replay(args: argparse.Namespace) -> int:
    if args.print_job:
        return _print_job(args)
    if args.classifier is not None or args.fleet is not None:
        return _decide_anew(args)
    try:
        return _answer_anew(args)
    except UsageError as error:
        print(f"pointsman: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: run it again with the same --out to go on", file=sys.stderr)
        return 130


def _print_job(args: argparse.Namespace) -> int:
    from serve_app.commands.replay.daily import job_command

    words = sys.argv[sys.argv.index("replay") + 1 :] if "replay" in sys.argv else []
    at = next(n for n, x in enumerate(words) if x.startswith("--p"))
    has_own = "=" not in words[at] and words[at + 1 : at + 2] == [args.print_job]
    kept = words[:at] + words[at + 1 + has_own :]
    command = job_command(args.print_job, kept)
    print(json.dumps({"command": command}) if args.json else command)
    return PASSED


# -- decisions ----------------------------------------------------------------


def _decide_anew(args: argparse.Namespace) -> int:
    from serve_app.commands.replay.offline import against_classifier, against_policy

    traces = _traces(args)
    if args.classifier is not None:
        told = against_classifier(traces, args.classifier, min(1.0, args.share))
    else:
        told = against_policy(traces, args.fleet, args.tenants)
    if args.json:
        print(json.dumps(told))
        return PASSED
    for name, value in told.items():
        if name == "lanes":
            for row in value:
                print(f"{row['requests']:>8}  {row['from']} -> {row['to']}")
        else:
            print(f"{name}: {', '.join(value) if isinstance(value, list) else value}")
    return PASSED


def _traces(args: argparse.Namespace) -> Any:
    from serve_app.commands.replay.sources import traces_of

    return traces_of(store_of(args.traces), _days(args), state_dir() / "feedback.db")


def _days(args: argparse.Namespace) -> tuple[date | None, date | None]:
    if not args.daily:
        return args.since, args.until
    if args.since or args.until:
        raise CommandError("--daily takes yesterday: leave --since and --until out")
    return _yesterday(), _yesterday()


def _yesterday() -> date:
    from serve_app.commands.replay.daily import yesterday

    return yesterday(datetime.now(UTC))


# -- answers ------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """Cases of one kind: agreement with traces and being right are two things."""

    name: str
    cases: Sequence[Any]
    rare: frozenset[str]
    skipped: dict[str, int]


def _answer_anew(args: argparse.Namespace) -> int:
    from serve_app.commands.replay.daily import prune
    from serve_app.commands.replay.judged_run import run_part

    parts = _parts(args)
    if not parts:
        raise UsageError("no cases: give --gold FILE, or traces of these days (--traces)")
    prune(state_dir() / "replays", datetime.now(UTC).date())
    out = args.out or state_dir() / "replays" / _name(args)
    told = [run_part(args, part, out / part.name) for part in parts]
    if args.json:
        print(json.dumps({"runs": [x.told for x in told]}))
    return max((x.status for x in told), key=(PASSED, UNKNOWN, LEFT, FAILED).index)


def _parts(args: argparse.Namespace) -> list[_Part]:
    from evals.replay.draw import Draw
    from serve_app.commands.replay.sources import draw_of, gold_cases

    parts = []
    if args.gold:
        draw = Draw(args.cases, seed=1)
        for case in gold_cases(args.gold):
            draw.add(case)
        parts.append(_Part("gold", draw.cases(), draw.rare, {}))
    if args.traces is not None or args.since or args.until or not args.gold or _has_traces(args):
        draw, skipped = Draw(args.cases, seed=1), Counter[str]()
        draw_of(_traces(args), draw, skipped, args.of_lane)
        parts.append(_Part("traces", draw.cases(), draw.rare, dict(skipped)))
    return [part for part in parts if part.cases]


def _has_traces(args: argparse.Namespace) -> bool:
    """Whether a daily run with gold cases finds traces, which it need not."""
    return bool(args.daily) and store_of(args.traces).exists()


def _name(args: argparse.Namespace) -> str:
    """Name a run so that the same one of the same day goes on."""
    of = _yesterday() if args.daily else datetime.now(UTC).date()
    what = (args.lane or args.compare).replace("/", "_")
    return f"{of.isoformat()}-{what}"
