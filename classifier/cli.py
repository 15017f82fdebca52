"""`pointsman classifier`: train, evaluate, score and report, offline."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from classifier.arguments import add_action
from classifier.artifact import (
    DEFAULT_ARTIFACT,
    Artifact,
    load_artifact,
    save_artifact,
)
from classifier.report.command import add_report

DATA = "outcomes.jsonl.gz prompts.jsonl.gz"


def add_commands(subparsers: Any) -> Any:
    """Add `classifier` to an argparse subparsers object; returns its own actions."""
    summary = "Train, evaluate, calibrate and apply the complexity classifier."
    parent = subparsers.add_parser("classifier", help=summary, description=summary)
    actions = parent.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_train(actions)
    _add_evaluate(actions)
    _add_score(actions)
    add_report(actions)
    return actions


def _add_train(actions: Any) -> None:
    train = add_action(
        actions,
        "train",
        "Train on labelled rows and write an artefact.",
        f"pointsman classifier train --data {DATA} --out my-classifier",
    )
    train.add_argument("--data", type=Path, nargs="+", required=True, metavar="FILE")
    train.add_argument("--out", type=Path, required=True, metavar="DIR")
    train.add_argument("--name", help="version of the artefact")
    train.add_argument(
        "--embedding",
        metavar="MODEL",
        help="`minilm` or a sentence-transformers model; default: none, words alone (compiled)",
    )
    _add_cache(train)
    train.set_defaults(func=_train)


def _add_evaluate(actions: Any) -> None:
    evaluate = add_action(
        actions,
        "evaluate",
        "Figures by source: of an artefact, or held out beside the baselines.",
        f"pointsman classifier evaluate --data {DATA} --held-out",
    )
    evaluate.add_argument("--data", type=Path, nargs="+", required=True, metavar="FILE")
    evaluate.add_argument("--artifact", type=Path, default=DEFAULT_ARTIFACT, metavar="DIR")
    evaluate.add_argument(
        "--held-out",
        action="store_true",
        help="train without each source, half and subject in turn (some 15 minutes)",
    )
    evaluate.add_argument(
        "--minilm",
        action="store_true",
        help="with --held-out: also MiniLM with a logistic regression (an hour of one core)",
    )
    _add_cache(evaluate)
    evaluate.set_defaults(func=_evaluate)


def _add_score(actions: Any) -> None:
    score = add_action(
        actions,
        "score",
        "Add a score to JSON lines that have `text` or `messages`.",
        "pointsman classifier score --input prompts.jsonl --output scored.jsonl",
    )
    score.add_argument("--input", type=Path, required=True, metavar="FILE")
    score.add_argument("--output", type=Path, required=True, metavar="FILE")
    score.add_argument("--artifact", type=Path, default=DEFAULT_ARTIFACT, metavar="DIR")
    score.set_defaults(func=_score)


def _add_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path.home() / ".cache" / "pointsman" / "teacher",
        metavar="DIR",
        help="where embeddings of texts are kept (of 70,000: an hour of one core)",
    )


def _train(args: argparse.Namespace) -> int:
    from classifier.training.build import VERSION, train, training_set
    from classifier.training.dataset import read_rows
    from classifier.training.embedding import train_embedding

    data = read_rows(args.data)
    note = {"files": [path.name for path in args.data], "rows": data.counts()}
    if args.embedding:
        artifact = train_embedding(data, args.embedding, args.cache, note, args.name)
    else:
        artifact = train(training_set(data), note, args.name or VERSION)
    return _saved(artifact, args)


def _evaluate(args: argparse.Namespace) -> int:
    from classifier.training import evaluate
    from classifier.training.build import training_set
    from classifier.training.dataset import read_rows, scores_of
    from classifier.training.teacher import Teacher

    data = read_rows(args.data)
    if args.held_out:
        rows = training_set(data)
        embeddings = Teacher(args.cache).embed(list(data.text)) if args.minilm else None
        report = {
            "held_out": evaluate.held_out(rows, embeddings),
            "top_3_percent_precision": evaluate.top_precision(rows),
        }
    else:
        scores = scores_of(load_artifact(args.artifact).scorer(), data)
        report = {"sources": evaluate.on_sources(data, scores)}
    if args.json:
        print(json.dumps(report))
        return 0
    for name, table in report.items():
        print(f"\n{name}")
        _print_rows(table)
    return 0


def _score(args: argparse.Namespace) -> int:
    from classifier.scoring import score_file

    count = score_file(args.input, args.output, args.artifact)
    _print({"scored": count, "output": str(args.output)}, as_json=args.json)
    return 0


def _saved(artifact: Artifact, args: argparse.Namespace) -> int:
    path = save_artifact(artifact, args.out)
    outcome = {
        "artifact": str(path),
        "version": artifact.version,
        "threshold_3_percent": artifact.threshold_for_share(0.03),
    }
    _print(outcome, as_json=args.json)
    return 0


def _print(outcome: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(outcome))
        return
    for name, value in outcome.items():
        print(f"{name}: {value}", file=sys.stdout)


def _print_rows(rows: Sequence[dict[str, Any]]) -> None:
    print(" | ".join(rows[0]))
    for row in rows:
        print(" | ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()))
