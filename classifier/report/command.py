"""The `report` action of `pointsman classifier`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from classifier.artifact import DEFAULT_ARTIFACT, Artifact, ArtifactError, load_artifact


def add_report(actions: Any) -> None:
    summary = "A page on quality, calibration, drift and the shadow, as one HTML file."
    parser: argparse.ArgumentParser = actions.add_parser(
        "report",
        help=summary,
        description=summary,
        epilog="example: pointsman classifier report --data outcomes.jsonl.gz "
        "--traffic request-log/ --out report.html",
    )
    parser.add_argument(
        "--data", type=Path, nargs="+", default=[], metavar="FILE", help="labelled rows"
    )
    parser.add_argument(
        "--traffic",
        type=Path,
        nargs="+",
        default=[],
        metavar="LOG",
        help="request logs, files or directories of them",
    )
    parser.add_argument(
        "--against",
        type=Path,
        nargs="+",
        default=[],
        metavar="LOG",
        help="earlier logs to compare with (default: the halves of --traffic)",
    )
    parser.add_argument("--artifact", type=Path, default=DEFAULT_ARTIFACT, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="page to write")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")
    parser.set_defaults(func=_report)


def _report(args: argparse.Namespace) -> int:
    from classifier.report.page import page

    if args.against and not args.traffic:
        print("pointsman: --against needs --traffic to compare with", file=sys.stderr)
        return 2
    try:
        report = figures_of(args)
        # A name may hold half a surrogate pair, which UTF-8 cannot say.
        args.out.write_text(page(report), encoding="utf-8", errors="replace")
    except (ArtifactError, OSError, ValueError) as error:
        print(f"pointsman: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report, allow_nan=False) if args.json else f"report: {args.out}")
    return 0


def figures_of(args: argparse.Namespace) -> dict[str, Any]:
    """All figures of the report; `data` and `traffic` are None when not given."""
    from classifier.report.findings import findings

    artifact = load_artifact(args.artifact)
    report: dict[str, Any] = {
        "artifact": {"version": artifact.version, "kind": artifact.kind},
        "data": _of_data(args.data, artifact) if args.data else None,
        "traffic": _of_traffic(args.traffic, args.against) if args.traffic else None,
    }
    return {**report, "warnings": findings(report)}


def _of_data(paths: list[Path], artifact: Artifact) -> dict[str, Any]:
    from classifier.report.labelled import of_data
    from classifier.training.dataset import read_rows, scores_of

    data = read_rows(paths)
    if len(data) == 0:
        raise ValueError("the files of --data have no rows")
    return of_data(data, scores_of(artifact.scorer(), data), artifact)


def _of_traffic(paths: list[Path], against: list[Path]) -> dict[str, Any]:
    from classifier.report.traffic import read_traffic
    from classifier.report.windows import of_traffic

    return of_traffic(read_traffic(paths), read_traffic(against) if against else None)
