"""A run from its options to its page: ask, judge, write, tell."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from evals.replay.gate import GateVerdict
from evals.replay.history import Day, alike
from evals.replay.report.page import Told, page
from evals.replay.scoring import Summary, summarize
from serve_app.advice.replays import history_path, read_history
from serve_app.commands.client import CommandError, request_json
from serve_app.commands.label.checks import Command
from serve_app.commands.label.command import DEFAULT_KEY_ENV, key_of
from serve_app.commands.named_files import named_fleet
from serve_app.commands.replay.daily import add_day, day_of, yesterday
from serve_app.commands.replay.folder import REPORT, SUMMARY, RunFolder
from serve_app.commands.replay.lanes import pair_of
from serve_app.commands.replay.run import Outcome, RunConfig, replay
from serve_app.config.errors import ConfigError
from serve_app.config.fleet import FleetConfig
from serve_app.config.served import served
from serve_app.config.settings import fleet_path, load_fleet

PASSED, FAILED, UNKNOWN, LEFT = 0, 1, 3, 4


@dataclass(frozen=True)
class PartTold:
    """A run's exit status, and what it has to tell."""

    status: int
    told: dict[str, Any]


def run_part(args: argparse.Namespace, part: Any, out: Path) -> PartTold:
    """Run one kind of cases and write its folder."""
    config = _config(args)
    look = partial(_look, _status_args(args))
    with RunFolder(out) as folder:
        outcome = asyncio.run(replay(config, part.cases, folder, look, _say))
        summary = summarize(outcome.scored, part.rare, args.least)
        now = datetime.now(UTC).timestamp()
        history = _history(args, outcome, summary, now)
        told_of = Told(
            candidate=outcome.candidate,
            incumbent=outcome.incumbent,
            when=datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M UTC"),
            skipped=part.skipped,
            unanswered=outcome.unanswered,
            history=history,
            asked=args.compare if args.compare and "=" in args.compare else "",
        )
        report = folder.write(REPORT, page(told_of, summary, outcome.scored))
        told = {
            "cases_from": part.name,
            "candidate": outcome.candidate,
            "incumbent": outcome.incumbent,
            "unanswered": outcome.unanswered,
            "failures": dict(list(outcome.failures.items())[:20]),
            "skipped": part.skipped,
            "report": str(report),
            **summary.to_dict(),
        }
        folder.write_json(SUMMARY, told)
    if not args.json:
        _print(told)
    return PartTold(_status(summary, outcome), told)


def _config(args: argparse.Namespace) -> RunConfig:
    candidate, incumbent = args.lane, None
    if args.compare:
        candidate, incumbent = _pair(args)
    variable = args.key_env or DEFAULT_KEY_ENV
    command = None
    if args.program:
        command = Command(args.program, concurrency=args.concurrency, secret=variable)
    return RunConfig(
        url=args.url,
        candidate=candidate,
        incumbent=incumbent,
        concurrency=args.concurrency,
        most_tokens=args.max_tokens,
        key=key_of(variable, is_needed=bool(args.key_env)),
        judge=args.judge,
        command=command,
        minutes=args.minutes,
    )


def _pair(args: argparse.Namespace) -> tuple[str, str]:
    if "=" not in args.compare:
        return pair_of(args.compare, {})
    return pair_of(args.compare, _fleet(args).enabled_lanes)


def _fleet(args: argparse.Namespace) -> FleetConfig:
    """Return the fleet that the deployment runs: the one given, this node's, a shipped one.

    `/status` tells its name, and not what its engines run with.
    """
    if args.of_fleet:
        return load_fleet(named_fleet(args.of_fleet))
    name = _look_now(_status_args(args)).get("fleet")
    if not name:
        raise CommandError("--compare: /status does not tell the fleet; give --of-fleet FILE")
    here = served()
    if here is not None and here.fleet_file.is_file():
        fleet = load_fleet(here.fleet_file)
        if fleet.name == name:
            return fleet
    try:
        return load_fleet(fleet_path(str(name)))
    except ConfigError as error:
        raise CommandError(f"--compare: {error}; give --of-fleet FILE") from error


def _status_args(args: argparse.Namespace) -> argparse.Namespace:
    """Return what `/status` is asked with: an admin key, this machine's where none is given."""
    key = None
    if args.status_key_env:
        key = key_of(args.status_key_env, is_needed=True)
    return argparse.Namespace(url=args.url, key=key)


def _look_now(args: argparse.Namespace) -> Mapping[str, Any]:
    found = request_json(args, "GET", "/status", operates=True)
    return found if isinstance(found, dict) else {}


async def _look(args: argparse.Namespace) -> Mapping[str, Any] | None:
    """Read `/status`; None: it does not answer, and then nothing is sent."""
    try:
        return await asyncio.to_thread(_look_now, args)
    except (CommandError, ValueError):
        return None


def _say(why: str) -> None:
    # The progress bar may stand on this line.
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""
    print(f"{clear}waiting: {why}", file=sys.stderr)


def _history(args: argparse.Namespace, outcome: Outcome, summary: Summary, now: float) -> list[Day]:
    """Add a daily run to the history; return the runs that compare with this one."""
    of = yesterday(datetime.fromtimestamp(now, UTC))
    day = day_of(now, of, outcome.candidate, outcome.incumbent, summary)
    if not args.daily:
        return alike([*read_history(history_path()), day], day)
    if outcome.unanswered:
        # A part of the cases would move the trend. The next run goes on, and then it is told.
        _say(f"{outcome.unanswered} cases are left: not in the history yet")
        return alike([*read_history(history_path()), day], day)
    return add_day(history_path(), day)


def _status(summary: Summary, outcome: Outcome) -> int:
    verdicts = {gate.verdict for gate in summary.gates.values()}
    if GateVerdict.FAIL in verdicts:
        return FAILED
    if outcome.unanswered:
        return LEFT
    return PASSED if verdicts and GateVerdict.TOO_FEW not in verdicts else UNKNOWN


def _print(told: Mapping[str, Any]) -> None:
    print(f"{told['candidate']} against {told['incumbent']}: {told['cases']} cases")
    names = {
        "selection_f1": "F1 of tool selection",
        "rare_selection_f1": "of rare tools",
        "call_f1": "F1 of whole calls",
        "answers": "final answers",
        "same_share": "answered alike",
        "kept_share": "text kept",
    }
    for name, said in names.items():
        if told[name] is not None:
            other = told.get(f"incumbent_{name}")
            print(f"{said:>22}  {told[name]:.3f}" + ("" if other is None else f" ({other:.3f})"))
    if told["better"] or told["worse"]:
        print(f"{'changed':>22}  better {told['better']}, worse {told['worse']}")
    for name, gate in told["gates"].items():
        print(f"{name:>22}  {gate['verdict']}: {_ratio(gate)}, {gate['least_ratio']:g} is asked")
    if told["cases"] and not told["gates"]:
        print(f"{'gate':>22}  none: no case says what is right; --judge LANE or --command CMD does")
    if told["unanswered"]:
        print(f"{'left':>22}  {told['unanswered']}: run it again to go on")
    for name, why in told["failures"].items():
        print(f"{'':>22}  {name}: {why}")
    print(f"{'report':>22}  {told['report']}")


def _ratio(gate: Mapping[str, Any]) -> str:
    if gate["ratio"] is None:
        return f"{gate['cases']} cases"
    low, high = gate["ratio_low"], gate["ratio_high"]
    return f"{gate['ratio']:.3f} of the incumbent ({low:.3f} to {high:.3f})"
