"""`pointsman doctor`: what is wrong with files, machine or deployment, and what mends it."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path

from serve_app.commands.client import CommandError, request_bytes, subparser
from serve_app.commands.doctor_parsers import parser_findings
from serve_app.commands.named_files import named_card, named_fleet
from serve_app.config.errors import ConfigError
from serve_app.config.settings import home, load_fleet, state_dir, tenants_path
from serve_app.doctor.check import Check, Finding, Section, not_applicable
from serve_app.doctor.examination import Places, examine
from serve_app.doctor.live.deployment import NoAnswer
from serve_app.doctor.live.examination import examine_live
from serve_app.doctor.machine.nvml import MachineCards
from serve_app.doctor.report import as_json, as_lines, exit_status
from serve_app.machine.failures.reader import read_log

ANSWER_S = 120.0
"""For one short answer: a model on a CPU takes some seconds."""


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparser(
        subparsers,
        "doctor",
        "Check files, machine and fleet without starting; --live also a running deployment.",
        "pointsman doctor --config configs/fleets/rtx4090.yaml",
    )
    parser.add_argument("--config", default="auto", help="fleet file or name (default: auto)")
    parser.add_argument(
        "--card", metavar="KIND", help="that lanes are for which name none: rtx3090, say"
    )
    parser.add_argument("--tenants", type=Path, help="tenants file")
    parser.add_argument("--serve-config", type=Path, help="default: serve_config.yaml")
    parser.add_argument(
        "--live",
        action="store_true",
        help="also ask the deployment at --url: a few short chats a lane, about 10 s",
    )
    parser.add_argument(
        "--log", type=Path, help="instead, read the log of a failed start and name its cause"
    )
    parser.add_argument("--strict", action="store_true", help="warnings fail, too (exit status 1)")
    parser.add_argument(
        "--parsers",
        action="store_true",
        help="instead, run raw outputs through the installed vLLM's tool parsers (20 s)",
    )
    parser.add_argument(
        "--update",
        action="store_true",
        help="with --parsers: write what they make of them into the suite's files",
    )
    parser.set_defaults(func=doctor)


def doctor(args: argparse.Namespace) -> int:
    """Run the checks that the arguments ask for; 0: none failed, 1: one did."""
    if args.update and not args.parsers:
        raise ConfigError("--update goes with --parsers")
    if args.log is not None:
        return _read(args.log, as_json_=args.json)
    # vLLM logs on standard output when it is imported, where only findings belong.
    with contextlib.redirect_stdout(sys.stderr):
        findings = _findings(args)
    if args.json:
        print(as_json(findings))
    else:
        print("\n".join(as_lines(findings)))
    return exit_status(findings, strict=args.strict)


def _findings(args: argparse.Namespace) -> list[Finding]:
    if args.parsers:
        return list(parser_findings(load_fleet(named_fleet(args.config)), updates=args.update))
    config = args.config
    # A fleet that is none is a finding, beside those of the other files.
    with contextlib.suppress(ConfigError):
        # Before anything else is looked for: it says where the home is.
        config = str(named_fleet(args.config))
    places = Places(
        config,
        args.tenants or tenants_path(),
        args.serve_config or home() / "serve_config.yaml",
        None if args.card is None else named_card(args.card),
    )
    reader = MachineCards()
    found = list(examine(places, reader))
    if not args.live:
        why = f"`pointsman doctor --live` asks the one that runs at {args.url}"
        return [*found, Check("deployment", Section.DEPLOYMENT, lambda: not_applicable(why)).run()]

    def ask(method: str, path: str, body: object) -> bytes:
        try:
            return request_bytes(args, method, path, body, operates=True, within_s=ANSWER_S)
        except CommandError as error:
            raise NoAnswer(str(error)) from error

    fleet = load_fleet(named_fleet(args.config))
    return [*found, *examine_live(fleet, ask, reader, state_dir() / "serve.log")]


def _read(log: Path, *, as_json_: bool) -> int:
    """Name the cause that a log shows: 0 where it is known, 1 where it is not."""
    reading = read_log(log)
    if as_json_:
        told = {
            "cause": reading.name,
            "detail": reading.cause,
            "fix": reading.fix,
            "lane": reading.lane,
            "lines": reading.lines,
        }
        print(json.dumps(told))
    else:
        print("\n".join(reading.told()))
    return 0 if reading.name else 1
