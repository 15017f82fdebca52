"""`pointsman classifier calibrate`: an artefact for an operator's own traffic, and its threshold.

With `--out` it writes the artefact. With `--lanes` it judges other thresholds, shares, budgets and
classifiers by the requests that were explored (`evals.off_policy`), and says what to put into the
fleet file; with `--write` it puts it there.
"""

from __future__ import annotations

import argparse
import json
from datetime import date
from pathlib import Path
from typing import Any

from classifier.artifact import DEFAULT_ARTIFACT, Artifact, load_artifact, save_artifact
from serve_app.commands.client import CommandError, subparser
from serve_app.commands.named_files import named_fleet
from serve_app.config.errors import ConfigError

METHODS = ("dr", "snips", "ips")


def add_calibrate(actions: Any) -> None:
    parser = subparser(
        actions,
        "calibrate",
        "Fit an artefact to your own traffic, from request logs; judge other thresholds by them.",
        "pointsman classifier calibrate --traffic request-log/ --lanes chat,quality",
        remote=False,
    )
    add = parser.add_argument
    add("--traffic", type=Path, nargs="+", metavar="LOG", help="request logs, or their folders")
    add(
        "--traces",
        type=Path,
        metavar="DIR",
        help="kept traces, in place of request logs (with neither: this node's)",
    )
    add("--since", type=date.fromisoformat, metavar="DAY", help="traces from this day on (UTC)")
    add("--until", type=date.fromisoformat, metavar="DAY", help="traces up to this day (UTC)")
    add("--data", type=Path, nargs="+", metavar="FILE", help="your own labels")
    add("--artifact", type=Path, metavar="DIR", help=_ARTIFACT)
    add("--out", type=Path, metavar="DIR", help="write the artefact here")
    add("--lanes", type=_pair, metavar="WEAK,STRONG", help="judge thresholds between these lanes")
    add("--feedback", type=Path, metavar="FILE", help="thumbs (default: this machine's)")
    add("--rewards", type=Path, metavar="FILE", help=_REWARDS)
    add("--shares", type=_shares, default=(), metavar="A,B", help="shares to judge, such as 0.05")
    add("--budgets", type=_shares, default=(), metavar="A,B", help="tenants' budgets to judge")
    add("--classifier", type=Path, nargs="+", default=[], metavar="DIR", help=_CLASSIFIER)
    add("--fleet", metavar="FILE", help="fleet file to change (default: the one served here)")
    add("--write", action="store_true", help="write what is recommended into the fleet file")
    add("--price", type=float, default=0.0, help="reward that one escalation has to bring")
    add("--method", choices=METHODS, default="dr", help="of the estimates (default: dr)")
    parser.set_defaults(func=_calibrate)


_REWARDS = "JSON lines of tenant, request_id and reward, 0 to 1, in place of thumbs"

_ARTIFACT = "the classifier whose scores these are (default: the one that the fleet file has)"
_CLASSIFIER = "artefacts to judge, too: they score the traces' requests anew, as redacted"


def _pair(text: str) -> tuple[str, str]:
    names = [name.strip() for name in text.split(",")]
    if len(names) != 2 or not all(names) or names[0] == names[1]:
        raise argparse.ArgumentTypeError("should be two lanes, the weaker first: chat,quality")
    return names[0], names[1]


def _shares(text: str) -> tuple[float, ...]:
    shares = tuple(float(part) for part in text.split(","))
    if not all(0 < share < 1 for share in shares):
        raise argparse.ArgumentTypeError("should be shares between 0 and 1: 0.02,0.05")
    return shares


def _calibrate(args: argparse.Namespace) -> int:
    told = _refused(args)
    if told is not None:
        raise CommandError(told)
    artifact = load_artifact(args.artifact or _classifier_of(args))
    outcome: dict[str, Any] = {}
    if args.out is not None:
        outcome |= _saved(_fitted(artifact, args), args.out)
    if args.lanes is not None:
        outcome |= _judged(args, artifact.version)
    if args.json:
        print(json.dumps(outcome))
        return _status(outcome)
    for name, value in outcome.items():
        if name not in ("policies", "settings"):
            print(f"{name}: {value}")
    if "policies" in outcome:
        from serve_app.commands.calibrate.report import print_policies, print_settings

        print_policies(outcome["policies"])
        print_settings(outcome["settings"])
    return _status(outcome)


def _classifier_of(args: argparse.Namespace) -> Path:
    """Return the folder of the classifier that the fleet scores with."""
    from serve_app.config.settings import home, load_fleet

    try:
        given = load_fleet(_fleet_path(args)).routing.classifier
    except ConfigError:
        # A note of a file that has gone: only --write needs it.
        given = None
    return home() / given if given else DEFAULT_ARTIFACT


def _fleet_path(args: argparse.Namespace) -> Path:
    from serve_app.config.served import served_fleet_file

    return named_fleet(args.fleet) if args.fleet else served_fleet_file()


def _status(outcome: dict[str, Any]) -> int:
    return 1 if outcome.get("settings", {}).get("not_written") else 0


def _judged(args: argparse.Namespace, version: str) -> dict[str, Any]:
    """Judge other policies; say what the best one comes to in the fleet file, and write it."""
    from evals.off_policy.policies import Change
    from serve_app.commands.calibrate.judging import judged
    from serve_app.commands.calibrate.settings import Settings, settings_of
    from serve_app.config.fleet_edit import set_routing
    from serve_app.config.settings import load_fleet

    found = judged(args, version)
    path = _fleet_path(args)
    made, why = Settings(), None
    try:
        change = None if found["change"] is None else Change(**found["change"])
        made = settings_of(change, load_fleet(path), args.lanes[1], args.out)
        if args.write and made.routing:
            set_routing(path, made.routing)
    except (CommandError, ConfigError, OSError) as error:
        # What was estimated is told all the same.
        why = str(error)
    settings = {
        "file": str(path),
        "written": bool(args.write and made.routing and why is None),
        "not_written": why if args.write else None,
        "hint": why,
        "routing": made.fleet_lines(),
        "tenants": made.tenants_lines(),
    }
    return {"policies": found, "settings": settings}


def _refused(args: argparse.Namespace) -> str | None:
    """Say which options do not go together, or what is missing; None: nothing."""
    has_logs, judges = args.traffic is not None, args.lanes is not None
    wrong = {
        "give one of --traffic and --traces": has_logs and args.traces is not None,
        "give --out DIR to write an artefact, or --lanes WEAK,STRONG to judge thresholds": (
            args.out is None and not judges
        ),
        "--write needs --lanes WEAK,STRONG: what is written is what they recommend": (
            args.write and not judges
        ),
        "--since and --until are of traces: logs are chosen by their files": (
            has_logs and bool(args.since or args.until)
        ),
        "--classifier scores kept requests anew: it needs traces, logs have no text": (
            has_logs and bool(args.classifier)
        ),
        "--out needs --traffic: thresholds are of all requests, traces only of some": (
            args.out is not None and not has_logs
        ),
    }
    return next((why for why, holds in wrong.items() if holds), None)


def _fitted(artifact: Artifact, args: argparse.Namespace) -> Artifact:
    from classifier.recalibrate import recalibrated
    from classifier.report.traffic import read_traffic

    knots = None
    if args.data:
        from classifier.training.calibrate import knots_of_labels
        from classifier.training.dataset import read_rows

        knots = knots_of_labels(artifact, read_rows(args.data))
    traffic = read_traffic(args.traffic)
    ours = traffic.scored & traffic.has("classifier", [artifact.version])
    return recalibrated(artifact, traffic.score[ours], knots)


def _saved(artifact: Artifact, out: Path) -> dict[str, Any]:
    return {
        "artifact": str(save_artifact(artifact, out)),
        "version": artifact.version,
        "threshold_3_percent": artifact.threshold_for_share(0.03),
    }
