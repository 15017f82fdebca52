"""`pointsman classifier`: train, evaluate and score, offline."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from classifier.artifact import DEFAULT_ARTIFACT, load_artifact, save_artifact
from classifier.conversation import Conversation


def add_commands(subparsers: Any) -> None:
    """Add `classifier` to an argparse subparsers object."""
    parent = subparsers.add_parser(
        "classifier",
        help="Train, evaluate and apply the complexity classifier.",
        description="Train, evaluate and apply the complexity classifier.",
    )
    actions = parent.add_subparsers(dest="action", required=True, metavar="ACTION")
    data = "outcomes.jsonl.gz prompts.jsonl.gz"

    train = _add(
        actions,
        "train",
        "Train on labelled rows and write an artefact.",
        f"pointsman classifier train --data {data} --out my-classifier",
    )
    train.add_argument("--data", type=Path, nargs="+", required=True, metavar="FILE")
    train.add_argument("--out", type=Path, required=True, metavar="DIR")
    train.set_defaults(func=_train)

    evaluate = _add(
        actions,
        "evaluate",
        "Figures by source, held out or of an artefact, and the decision's cost.",
        f"pointsman classifier evaluate --data {data} --held-out",
    )
    evaluate.add_argument("--data", type=Path, nargs="*", default=[], metavar="FILE")
    evaluate.add_argument("--artifact", type=Path, default=DEFAULT_ARTIFACT, metavar="DIR")
    evaluate.add_argument(
        "--held-out", action="store_true", help="train without each source in turn"
    )
    evaluate.add_argument(
        "--minilm",
        type=int,
        metavar="ROWS",
        help="held-out figures beside MiniLM + logistic regression, on ROWS rows a source",
    )
    evaluate.add_argument("--latency", action="store_true", help="time the decision")
    evaluate.set_defaults(func=_evaluate)

    score = _add(
        actions,
        "score",
        "Add a score to JSON lines that have `text` or `messages`.",
        "pointsman classifier score --input prompts.jsonl --output scored.jsonl",
    )
    score.add_argument("--input", type=Path, required=True, metavar="FILE")
    score.add_argument("--output", type=Path, required=True, metavar="FILE")
    score.add_argument("--artifact", type=Path, default=DEFAULT_ARTIFACT, metavar="DIR")
    score.set_defaults(func=_score)


def _add(actions: Any, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=summary, description=summary, epilog=f"example: {example}"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _train(args: argparse.Namespace) -> int:
    import numpy as np

    from classifier.dataset import read_rows
    from classifier.train import train

    data = read_rows(args.data)
    names, counts = np.unique(data.source, return_counts=True)
    training = {
        "files": [path.name for path in args.data],
        "rows": {str(name): int(count) for name, count in zip(names, counts, strict=True)},
        "mix": "97 % rows of tier easy, 3 % of tier complex",
    }
    artifact = train(data, training)
    path = save_artifact(artifact, args.out)
    threshold = artifact.threshold_for_share(0.03)
    outcome = {"artifact": str(path), "rows": len(data.source), "threshold_3_percent": threshold}
    _print(outcome, as_json=args.json)
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from classifier import evaluate
    from classifier.dataset import read_rows
    from classifier.train import Fitted, fit

    report: dict[str, Any] = {}
    artifact = load_artifact(args.artifact)
    if args.latency:
        report["latency"] = evaluate.latency(artifact.scorer())
    if args.data and args.minilm:
        from classifier.embedder import MiniLM

        embedded = read_rows(args.data, MiniLM(), args.minilm)
        report["held_out_sources_sampled"] = [
            *evaluate.held_out(embedded, fit, "MiniLM + LR"),
            *evaluate.held_out(read_rows(args.data, per_source=args.minilm), fit),
        ]
    elif args.data:
        import numpy as np

        data = read_rows(args.data)
        if args.held_out:
            report["held_out_sources"] = evaluate.held_out(data, fit)
            report["top_3_percent_precision"] = evaluate.top_precision(data, fit)
        else:
            model = Fitted(np.array(artifact.weights), artifact.bias)
            report["sources"] = evaluate.on_data(data, model)
    if args.json:
        print(json.dumps(report))
        return 0
    for name, rows in report.items():
        print(f"\n{name}")
        _print_rows(rows)
    return 0


def _score(args: argparse.Namespace) -> int:
    scorer = load_artifact(args.artifact).scorer()
    count = 0
    with args.input.open(encoding="utf-8") as lines, args.output.open("w", encoding="utf-8") as out:
        for line in lines:
            if line.strip():
                row = json.loads(line)
                row["score"] = scorer.score(conversation_of(row))
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
                count += 1
    _print({"scored": count, "output": str(args.output)}, as_json=args.json)
    return 0


def conversation_of(row: dict[str, Any]) -> Conversation:
    """The conversation of a row with `messages` (OpenAI's form) or `text`."""
    if "messages" not in row:
        return Conversation(last_user=str(row["text"]))
    messages = row["messages"]
    users = [_text(m.get("content")) for m in messages if m.get("role") == "user"]
    systems = [_text(m.get("content")) for m in messages if m.get("role") == "system"]
    return Conversation(
        last_user=users[-1] if users else "",
        system="\n".join(systems),
        user_turns=max(1, len(users)),
        tools=len(row.get("tools") or ()),
    )


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts: Iterable[Any] = content or ()
    return "\n".join(str(p.get("text", "")) for p in parts if isinstance(p, dict))


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
