"""`pointsman classifier cascade`: whether a weak lane's signals say who should answer.

Reads what `pointsman classifier label --signals` wrote; asks nobody.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from classifier.arguments import positive
from evals.cascade.deferral import DRAWS, Judged
from evals.cascade.signals import HELD_TOKENS, KEPT_TOKENS
from evals.cascade.two_stages import StageFigures
from serve_app.commands.client import subparser
from serve_app.config.routing import CascadeConfig

SHARE = 0.03

VERDICT = {
    True: "Signals beat the prompt on sources that were held out.",
    False: "Signals do not beat the prompt on sources that were held out: do not route by them.",
}


def add_cascade(actions: Any) -> None:
    parser = subparser(
        actions,
        "cascade",
        "Judge by your own rows whether a weak lane's signals beat the prompt's score.",
        "pointsman classifier cascade --data mine.labelled.jsonl --hold 8",
        remote=False,
    )
    add = parser.add_argument
    add("--data", type=Path, nargs="+", required=True, metavar="FILE", help=_HELP["data"])
    add("--hold", type=positive, default=HELD_TOKENS, metavar="N", help=_HELP["hold"])
    add("--artifact", type=Path, metavar="DIR", help="classifier that scores (default: shipped)")
    add("--share", type=_share, default=SHARE, metavar="X", help=_HELP["share"])
    add("--draws", type=positive, default=DRAWS, metavar="N", help=_HELP["draws"])
    add("--seed", type=int, default=0, help="of the bootstrap samples (default: 0)")
    parser.set_defaults(func=_cascade)


_HELP = {
    "data": "rows of `pointsman classifier label --signals`",
    "share": "that both stages have together, as `routing.escalation_share` (default: 0.03)",
    "draws": f"bootstrap samples that intervals are of (default: {DRAWS})",
    "hold": f"tokens whose signals count, at most {KEPT_TOKENS} (default: {HELD_TOKENS})",
}


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 0.5:
        raise argparse.ArgumentTypeError("should be over 0 and at most 0.5")
    return value


def _cascade(args: argparse.Namespace) -> int:
    import numpy as np

    from classifier import DEFAULT_ARTIFACT, load_artifact
    from classifier.features.conversation import rows_of
    from evals.cascade.deferral import held_out
    from evals.cascade.judging import DECIDING, PREDICTORS, RELAYED, figures, is_better, judged
    from evals.cascade.two_stages import by_score, two_stages

    scorer = load_artifact(args.artifact or DEFAULT_ARTIFACT).scorer()
    rows = judged([row for path in args.data for _, row in rows_of(path)], scorer, args.hold)
    found = figures(rows, np.random.default_rng(args.seed), args.draws)
    ways = {"score": by_score(rows, args.share, np.random.default_rng(args.seed))}
    unsure = held_out(rows, PREDICTORS[DECIDING])
    ways["moves"] = two_stages(rows, unsure, args.share, np.random.default_rng(args.seed))
    uncertainty, ways["relay"] = _relay(rows, args.share, args.seed)
    beats = is_better(found, RELAYED)
    setting = {"uncertainty": uncertainty, "hold_tokens": args.hold, "beats": beats}
    names, each = np.unique(rows.source, return_counts=True)
    counts = dict(zip(names.tolist(), each.tolist(), strict=True))
    better = is_better(found)
    if args.json:
        made = [{**asdict(one), "beats": one.beats} for one in found]
        stages = {name: asdict(one) for name, one in ways.items()}
        said = {"rows": counts, "hold": args.hold, "share": args.share, "beats": better}
        said["setting"] = setting
        print(json.dumps({**said, "figures": made, "stages": stages}))
        return 0
    print(f"{len(rows)} rows, each source held out: {counts}\n")
    print(table(found))
    alone, both = ways["score"], ways["moves"]
    print(
        f"\nWith a share of {args.share:.0%}: {alone.quality:.3f} by score alone, where "
        f"{alone.at_once:.1%} go up; {both.quality:.3f} where {both.at_once:.1%} do and "
        f"{both.moved:.1%} move, of {both.held:.0%} that are held."
    )
    print(VERDICT[better])
    print(_advice(setting, ways["relay"]))
    return 0


def _relay(rows: Judged, share: float, seed: int) -> tuple[float, StageFigures]:
    """Return the uncertainty to set with a fleet file's other defaults, and what that does."""
    import numpy as np

    from evals.cascade.two_stages import relayed, thresholds, two_stages

    usual, mean = CascadeConfig(uncertainty=1), relayed(rows)
    threshold = thresholds(rows, mean, share, usual.part, usual.band)[1]
    rng = np.random.default_rng(seed)
    return round(threshold, 3), two_stages(rows, mean, share, rng, usual.part, usual.band)


def _advice(setting: Mapping[str, Any], relay: StageFigures) -> str:
    """Say what to write into the fleet file, which knows one number of the tokens."""
    if not setting["beats"]:
        return "Their mean log-probability alone does not either: leave routing.cascade out."
    known = f"{{uncertainty: {setting['uncertainty']:g}, hold_tokens: {setting['hold_tokens']}}}"
    return (
        f"A deployment goes by their mean log-probability: `routing.cascade: {known}` makes it "
        f"{relay.quality:.3f}; {relay.moved:.1%} move, of {relay.held:.0%} that are held."
    )


def table(found: list[Any]) -> str:
    """The figures as columns of text; quality is the mean outcome when so much moves."""
    shares = list(found[0].quality)
    head = ["predictor", "AUC", "in a source", "area", "against prompt", "better in"]
    lines = [[*head, *(f"at {share:.0%}" for share in shares)]]
    for one in found:
        beside = one.beside
        lines.append(
            [
                one.name,
                *(_range(part) for part in (one.auc, one.within, one.area)),
                _range(beside.better) if beside else "",
                f"{beside.wins} of {beside.sources}" if beside else "",
                *(f"{value:.3f}" for value in one.quality.values()),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _range(found: Any) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
