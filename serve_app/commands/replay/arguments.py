"""The options of `pointsman replay`."""

from __future__ import annotations

import argparse
import os
from datetime import date
from pathlib import Path
from typing import Any

from classifier.arguments import above_zero, positive
from evals.replay.gate import LEAST_RATIO
from serve_app.commands.client import DEFAULT_URL, subparser
from serve_app.commands.label.command import DEFAULT_KEY_ENV

MOST_CASES = 500
MOST_TOKENS = 512
DASHBOARD = "http://127.0.0.1:8265"

_HELP = {
    "lane": "lane or model that answers anew; beside it stands what traces hold, or the gold",
    "compare": "two lanes that both answer anew: names, or what they run with, as kv=fp8,kv=16bit "
    "(kv, weights, dtype)",
    "classifier": "folder of a classifier: which of the traces' requests it would send up instead",
    "fleet": "fleet file: the lane that each of the traces' requests would go to instead",
    "gold": "JSON lines with requests and what is right; may be given several times",
    "traces": "folder or file of traces (default: this node's, wherever traces.path has them)",
    "of_lane": "only traces of this lane",
    "of_fleet": "fleet file whose lanes --compare describes (default: the one the deployment runs)",
    "judge": "lane that compares final answers nothing else checks, each pair in both orders",
    "command": "program that reads {prompt, answer, lane} as JSON on stdin; exit status 0 is a "
    "pass, 1 a fail",
    "cases": f"most cases, rare tools first (default: {MOST_CASES})",
    "most_tokens": f"longest answer (default: {MOST_TOKENS})",
    "minutes": "begin no case after so long; the next run goes on",
    "out": "folder of the run; one that is there is gone on with",
    "key_env": f"environment variable with the API key, of a tenant whose tier comes last "
    f"(default: {DEFAULT_KEY_ENV})",
    "status_key_env": "environment variable with the admin key that reads /status (default: this "
    "machine's)",
    "daily": "yesterday's traces and all gold; the result goes into the history and to advise",
    "print_job": "print the command that runs this on a Ray cluster, and do nothing else",
    "least": f"part of the incumbent that the gate asks for (default: {LEAST_RATIO})",
    "share": "of requests that go up, for --classifier (default: 0.03)",
}


def add_arguments(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command and its options."""
    parser = subparser(
        subparsers,
        "replay",
        "Answer kept requests and gold cases again, on spare capacity, and judge the answers.",
        "pointsman replay --lane quality --gold gold.jsonl --out runs/quality",
        remote=False,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--lane", metavar="NAME", help=_HELP["lane"])
    what.add_argument("--compare", metavar="NEW,OLD", help=_HELP["compare"])
    what.add_argument("--classifier", type=Path, metavar="DIR", help=_HELP["classifier"])
    what.add_argument("--fleet", metavar="FILE", help=_HELP["fleet"])
    _add_sources(parser)
    _add_checks(parser)
    _add_running(parser)
    return parser


def _add_sources(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--gold", type=Path, action="append", default=[], metavar="FILE", help=_HELP["gold"])
    add("--traces", type=Path, metavar="PATH", help=_HELP["traces"])
    add("--since", type=date.fromisoformat, metavar="DAY", help="traces from this day on (UTC)")
    add("--until", type=date.fromisoformat, metavar="DAY", help="traces up to this day (UTC)")
    add("--of-lane", metavar="NAME", help=_HELP["of_lane"])
    add("--cases", type=positive, default=MOST_CASES, metavar="N", help=_HELP["cases"])
    add("--of-fleet", metavar="FILE", help=_HELP["of_fleet"])
    add("--tenants", metavar="FILE", help="tenants file for --fleet (default: the usual one)")


def _add_checks(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--judge", metavar="LANE", help=_HELP["judge"])
    add("--command", dest="program", metavar="CMD", help=_HELP["command"])
    add("--least", type=above_zero, default=LEAST_RATIO, metavar="RATIO", help=_HELP["least"])
    add("--share", type=above_zero, default=0.03, help=_HELP["share"])


def _add_running(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", type=Path, metavar="DIR", help=_HELP["out"])
    add("--url", default=os.environ.get("POINTSMAN_URL", DEFAULT_URL))
    add("--key-env", metavar="NAME", help=_HELP["key_env"])
    add("--status-key-env", metavar="NAME", help=_HELP["status_key_env"])
    add("--concurrency", type=positive, default=4, help="most requests at a time (default: 4)")
    add("--max-tokens", type=positive, default=MOST_TOKENS, help=_HELP["most_tokens"])
    add("--minutes", type=above_zero, metavar="N", help=_HELP["minutes"])
    add("--daily", action="store_true", help=_HELP["daily"])
    add("--print-job", nargs="?", const=DASHBOARD, metavar="ADDRESS", help=_HELP["print_job"])
