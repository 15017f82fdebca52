"""`pointsman advise`: what should be changed about the fleet, and why."""

from __future__ import annotations

import argparse
import json
import re
import textwrap
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from router.advice.judge import State
from router.advice.table import is_urgent
from serve_app.advice.offline import NoAdvice, advise_from
from serve_app.commands.client import CommandError, request_json, subparser
from serve_app.config.advice import AdviceConfig
from serve_app.config.settings import state_dir

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_WIDTH = 96


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparser(
        subparsers,
        "advise",
        "Show which scaling triggers fire, what to change, what it costs and would bring.",
        "pointsman advise --window 30m",
    )
    add = parser.add_argument
    add("--history", type=Path, metavar="FILE", help="judge a history's file; nothing has to run")
    add("--window", type=_seconds, help="judge the last 90s, 30m, 2h or 7d, not each its own time")
    add("--all", action="store_true", help="also what is well")
    add("--no-simulation", action="store_true", help="with a file: leave expected effects out")
    parser.set_defaults(func=_advise)


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if match is None or not float(match[1]):
        raise argparse.ArgumentTypeError(f"'{text}' is no time: say 90s, 30m, 2h or 7d")
    return float(match[1]) * _UNITS[match[2]]


def _advise(args: argparse.Namespace) -> int:
    """Exit status: 1 if something fires that users feel or will, else 0."""
    advice = _found(args)
    rows = advice["rows"]
    if args.json:
        print(json.dumps(advice))
    else:
        _print(advice, shows_all=args.all)
    return 1 if any(map(is_urgent, rows)) else 0


def _found(args: argparse.Namespace) -> dict[str, Any]:
    if args.history is None and args.window is None:
        told: dict[str, Any] = request_json(args, "GET", "/admin/advice", operates=True)
        if not told["enabled"]:
            raise CommandError("advice is off: advice.enabled in the fleet file")
        return told
    # A window of one's own is judged here, on the file that the deployment writes.
    path = args.history or state_dir() / AdviceConfig().path
    try:
        found: dict[str, Any] = advise_from(path, args.window, simulates=not args.no_simulation)
    except NoAdvice as error:
        raise CommandError(str(error)) from error
    return found


def _print(advice: dict[str, Any], *, shows_all: bool) -> None:
    if advice["at"] is None:
        print("no point was taken yet: the first advice comes after two periods")
        return
    rows = advice["rows"]
    shown = [row for row in rows if shows_all or row["state"] == State.FIRING.value]
    for row in shown:
        _print_row(row)
    counts = {state: sum(row["state"] == state for row in rows) for state in State}
    print(
        f"{counts[State.FIRING]} fire, {counts[State.CLEAR]} are well, "
        f"{counts[State.TOO_LITTLE]} have too little data; as of {_time(advice['at'])}"
    )


def _print_row(row: dict[str, Any]) -> None:
    since = f" since {_time(row['since'])}" if row["since"] is not None else ""
    print(f"{row['state'].upper()} {row['trigger']} [{row['subject']}] {row['severity']}{since}")
    sure = row["confidence"]
    lines = {
        "when": row["condition"],
        "seen": f"{_value(row['value'])} {row['unit']} (limit {_value(row['limit'])})",
        "do": row["remedy"],
        "price": row["price"],
        "undo": row["undo"],
        "effect": (row["expected"] or {}).get("says"),
        "sure": f"{sure['sure']:.0%}: {sure['coverage']:.0%} of the time watched, "
        f"{sure['samples']:,} readings or events",
        "source": row["source"],
    }
    for name, text in lines.items():
        if text:
            print(_wrapped(name, text))
    print()


def _wrapped(name: str, text: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=f"  {name:<7} ",
        subsequent_indent=" " * 10,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _value(value: float | None) -> str:
    return "nothing" if value is None else f"{value:,.4g}"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
