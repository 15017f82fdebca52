"""`pointsman experiments`: what runs, what it has shown, and how many ratings one takes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evals.experiments.power import power_of
from evals.experiments.report import Rating, Shown, Subject, report_of
from evals.experiments.sequential import SMALLEST
from serve_app.commands.client import CommandError, request_json, subparser


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    summary = "Show experiments, what they have shown, and how many ratings one takes."
    parser = subparsers.add_parser("experiments", help=summary, description=summary)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = subparser(
        actions, "list", "Show the experiments of the fleet file.", "pointsman experiments list"
    )
    listing.set_defaults(func=_list)
    report = subparser(
        actions,
        "report",
        "Show an experiment's arms and tests; it may be looked at at any time.",
        "pointsman experiments report models --judged judged.jsonl",
    )
    report.add_argument("name")
    report.add_argument(
        "--judged",
        type=Path,
        metavar="FILE",
        help="rows of 'pointsman classifier label --judge', with the control as the weak lane",
    )
    report.set_defaults(func=_report)
    _add_power(actions)


def _add_power(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    power = subparser(
        actions,
        "power",
        "Reckon how many ratings a test of preferences takes; nothing has to run.",
        "pointsman experiments power --preference 0.56 --per-day 60",
        remote=False,
    )
    add = power.add_argument
    add("--preference", type=float, default=0.5 + SMALLEST, help="share (default: %(default)s)")
    add("--alpha", type=float, default=0.05, help="chance of a false alarm (default: %(default)s)")
    add("--power", type=float, default=0.8, help="chance to find it (default: %(default)s)")
    smallest = "difference that the test is tuned for (default: %(default)s)"
    add("--smallest", type=float, default=SMALLEST, help=smallest)
    add("--per-day", type=float, help="ratings of a day, for days instead of ratings")
    power.set_defaults(func=_power)


def _rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    status = request_json(args, "GET", "/status", operates=True)
    if "experiments" not in status:
        raise CommandError("experiments are shown to an admin key")
    rows: list[dict[str, Any]] = status["experiments"]
    return rows


def _list(args: argparse.Namespace) -> int:
    rows = _rows(args)
    if args.json:
        print(json.dumps(rows))
        return 0
    if not rows:
        print("no experiments: experiments: of the fleet file (docs/experiments.md)")
    for row in rows:
        print(
            f"{row['name']:<20} {row['state']:<8} {row['kind']:<10} {row['control']} against "
            f"{row['treatment']} ({row['share']:.0%}), {_day(row['begins'])} to {_day(row['ends'])}"
        )
        if row["stopped_why"] is not None:
            print(f"{'':<20} stopped {_time(row['stopped_at'])}: {row['stopped_why']}")
        elif row["report"] is not None:
            print(f"{'':<20} {row['report']['verdict']}")
        if row["kind"] == "shadow":
            print(f"{'':<20} {_copies(row['arms']['shadow'])}")
    return 0


_ENDS = ("answered", "failed", "late", "dropped:full", "dropped:at_once", "unfit")


def _copies(arm: Mapping[str, float]) -> str:
    """What became of a shadow's copies."""
    ends = {end: arm[end] for end in _ENDS if arm.get(end)}
    told = ", ".join(f"{count:.0f} {end.replace(':', ' ')}" for end, count in ends.items())
    return f"{sum(ends.values()):.0f} copies: {told}" if ends else "no copy yet"


def _report(args: argparse.Namespace) -> int:
    rows = {row["name"]: row for row in _rows(args)}
    row = rows.get(args.name)
    if row is None:
        known = f"there are: {', '.join(rows)}" if rows else "there is none"
        raise CommandError(f"no experiment '{args.name}'; {known}")
    if args.judged is not None:
        row = {**row, "report": _with_judged(row, judged(args.judged))}
    if args.json:
        print(json.dumps(row))
        return 0
    print(f"{row['name']}: {row['state']}")
    if (since := row.get("since")) is not None:
        print(
            f"  requests are divided as they are since {_time(since)}; ratings count from then on"
        )
    if row["stopped_why"] is not None:
        print(f"  stopped {_time(row['stopped_at'])}: {row['stopped_why']}")
    for arm, counts in row["arms"].items():
        told = ", ".join(f"{name} {value:.4g}" for name, value in sorted(counts.items()))
        print(f"  {arm:<10} {told or 'no request yet'}")
    if row["report"] is not None:
        _print_tests(row["report"])
    return 0


def _print_tests(report: Mapping[str, Any]) -> None:
    print(f"  {report['verdict']}")
    for metric, test in report["tests"].items():
        estimate = "nothing" if test["estimate"] is None else f"{test['estimate']:.3f}"
        print(
            f"  {metric:<10} {estimate} of {test['n']} ({test['low']:.3f} to {test['high']:.3f}), "
            f"e-value {test['e_value']:.4g}, p at any time {test['p_value']:.4g}"
        )
    enough = report["enough"]
    if enough:
        print(
            f"  {enough['preference']:.0%} would be found with {enough['median']} ratings half of "
            f"the time, with {enough['enough']} in {enough['power']:.0%}; a test that may be "
            f"looked at once takes {enough['fixed']}"
        )


def judged(path: Path) -> list[Rating]:
    """Read a judge's comparisons: `weak` is what the control's answer got, `strong` the other's.

    Raises:
        ValueError: a line is no such row.

    """
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            control, treatment = float(row["weak"]), float(row["strong"])
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path}:{number}: no row with 'weak' and 'strong'") from None
        won = None if control == treatment else treatment > control
        found.append(Rating(float(number), "", won))
    return found


def _with_judged(row: Mapping[str, Any], ratings: list[Rating]) -> dict[str, Any]:
    subject = Subject(
        row["name"],
        row["kind"],
        row["control"],
        row["treatment"],
        row["share"],
        row["metric"],
        row["alpha"],
        row["smallest"],
    )
    own = report_of(subject, Shown(judged=ratings)).row()
    if row["report"] is None or row["metric"] == "judge":
        return own
    return {**row["report"], "tests": {**row["report"]["tests"], **own["tests"]}}


def _power(args: argparse.Namespace) -> int:
    if not 0 < args.smallest < 0.5:
        raise CommandError("--smallest: more than 0 and less than 0.5")
    if args.per_day is not None and not args.per_day > 0:
        raise CommandError("--per-day: more than 0")
    found = power_of(args.preference, alpha=args.alpha, power=args.power, smallest=args.smallest)
    if args.json:
        print(json.dumps(asdict(found)))
        return 0
    print(f"preference of {found.preference:.1%}, error {found.alpha:g}, looked at after each:")
    rows = {
        "half of the time decided by": found.median,
        f"in {found.power:.0%} decided by": found.enough,
        "on average decided by": round(found.mean),
        "a test that may look once takes": found.fixed,
    }
    for what, ratings in rows.items():
        print(f"  {what:<32} {_ratings(ratings, found.horizon, args.per_day)}")
    return 0


def _ratings(ratings: int | None, horizon: int, per_day: float | None) -> str:
    if ratings is None:
        return f"not within {horizon:,} ratings"
    days = "" if not per_day else f", {ratings / per_day:.1f} days"
    return f"{ratings:,} ratings{days}"


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
