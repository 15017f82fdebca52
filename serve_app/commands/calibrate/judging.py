"""Other thresholds, shares, budgets and classifiers, judged by a log of explored requests."""

from __future__ import annotations

import argparse
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from classifier.artifact import load_artifact
from classifier.report.traffic import log_files, log_lines
from evals.off_policy.estimators import Method
from evals.off_policy.logged import Floats, Logged, Row, logged_of, reward_of
from evals.off_policy.policies import (
    Candidate,
    Change,
    by_other_score,
    threshold_of,
    within_budgets,
)
from evals.off_policy.recommending import recommended, threshold_candidate, thresholds_around
from evals.traces.store import read_traces
from evals.traces.trace import Trace
from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.commands.client import CommandError
from serve_app.commands.rescoring import parsed_of, score_of
from serve_app.commands.traces import store_of, tell_damaged
from serve_app.config.errors import nearest
from serve_app.config.settings import state_dir
from serve_app.records.feedback_store import FILE_NAME, thumbs_of

SHADOW = "the shadow classifier"

Rewards = dict[tuple[str, str], float]
"""By tenant and request id."""


def judged(args: argparse.Namespace, version: str) -> dict[str, Any]:
    """Return every candidate with its gain, and which is recommended.

    Only requests count that the classifier of this version has scored: others' scores do not
    compare.
    """
    rewards = _rewards(args)
    others = [_Other(folder) for folder in args.classifier]
    if args.traffic:
        found, names = _logged(args.traffic), [SHADOW]
    else:
        found, names = _traced(args, rewards, others), [x.name for x in others]
    weak, strong = args.lanes
    versions = Counter[str]()
    rows = _of_version(found, version, versions)
    seen, lanes = array("d"), set[str]()
    logged = logged_of(_noting(rows, seen, lanes), rewards, weak, strong)
    for lane in (weak, strong) if lanes else ():
        if lane not in lanes:
            raise CommandError(f"--lanes: no scored request went to '{lane}'{nearest(lane, lanes)}")
    candidates = _candidates(logged, np.frombuffer(seen), names, args)
    best = recommended(logged, candidates, args.price, method=Method(args.method))
    return {
        "requests": len(logged),
        "explored": int((logged.usual_up != logged.went_up).sum()),
        "share_now": float(logged.usual_up.mean()) if len(logged) else None,
        "candidates": [
            {
                "policy": row.candidate.name,
                "share": row.candidate.share,
                "identified": row.gain.is_identified,
                "enough": row.gain.is_enough,
                **asdict(row.net),
            }
            for row in best.rows
        ],
        "rescored": {x.name: x.told() for x in others},
        "recommended": None if best.best is None else best.best.candidate.name,
        "change": None if best.best is None else asdict(best.best.candidate.change),
        "says": best.says + _told(versions, version) if not len(logged) else best.says,
    }


def _of_version(
    rows: Iterable[tuple[str | None, Row]], version: str, versions: Counter[str]
) -> Iterator[Row]:
    """Pass on what one classifier has scored, and count whose the other scores are."""
    for classifier, row in rows:
        if classifier == version:
            yield row
        elif classifier is not None and row.score is not None:
            versions[classifier] += 1


def _told(versions: Counter[str], version: str) -> str:
    """Say whose the scores are where none is of the classifier that was asked about."""
    if not versions:
        return ""
    told = ", ".join(f"{count:,} of {name}" for name, count in versions.most_common(3))
    return f"; scores of other classifiers than {version}: {told} (--artifact DIR)"


def _noting(rows: Iterable[Row], seen: array[float], lanes: set[str]) -> Iterator[Row]:
    """Pass rows on, and keep the scores of all and where they went."""
    for row in rows:
        if row.score is not None:
            seen.append(row.score)
            lanes.update([] if row.lane is None else [row.lane])
        yield row


def _candidates(
    logged: Logged, scored: Floats, others: list[str], args: argparse.Namespace
) -> list[Candidate]:
    if not len(logged):
        return []
    given = [threshold_candidate(logged, scored, threshold_of(scored, x)) for x in args.shares]
    found = given or thresholds_around(logged, scored)
    now = float(logged.usual_up.mean())
    if now == 0:
        return found
    edge = float(np.quantile(logged.score, 1 - now))
    for budget in args.budgets:
        target = within_budgets(logged, edge, budget)
        found.append(Candidate(f"budget {budget:.2%}", target, Change(budget=budget)))
    for at, name in enumerate(others):
        if not np.isnan(logged.other_scores[:, at]).all():
            target = by_other_score(logged, at)
            found.append(Candidate(name, target, Change(classifier=name)))
    return found


class _Other:
    """A classifier that scores kept requests anew. Raises ArtifactError where there is none."""

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._scorer = load_artifact(folder).scorer()
        self._scored = self._unread = 0

    def score(self, parsed: ParsedRequest | None) -> float | None:
        """Score a request; None: its text was not kept, or it has no user's turn."""
        if parsed is None or not parsed.prompt.users:
            self._unread += 1
            return None
        self._scored += 1
        return score_of(self._scorer, parsed)

    def told(self) -> dict[str, Any]:
        return {"version": self._scorer.version, "requests": self._scored, "without": self._unread}


def _rewards(args: argparse.Namespace) -> Rewards:
    if args.rewards is not None:
        return dict(_given(args.rewards))
    path = args.feedback or state_dir() / FILE_NAME
    if not path.exists():
        raise ValueError(f"{path}: no feedback is kept there; --feedback or --rewards says where")
    return {
        (tenant, request): reward_of(1 if thumb == "up" else -1)
        for tenant, request, thumb in thumbs_of(path)
    }


def _given(path: Path) -> Iterator[tuple[tuple[str, str], float]]:
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            row = orjson.loads(line)
            reward = float(row["reward"])
            key = str(row["tenant"]), str(row["request_id"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            message = f"{path}:{number}: needs tenant, request_id and reward"
            raise ValueError(message) from None
        if not 0 <= reward <= 1:
            raise ValueError(f"{path}:{number}: reward: must lie between 0 and 1")
        yield key, reward


def _logged(paths: list[Path]) -> Iterator[tuple[str | None, Row]]:
    """Yield the requests of logs, and who scored them; a line that cannot be read is left out."""
    for path in log_files(paths):
        for line in log_lines(path):
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if isinstance(row, dict):
                yield (
                    row.get("classifier"),
                    Row(
                        str(row.get("request_id")),
                        str(row.get("tenant")),
                        row.get("session"),
                        row.get("lane"),
                        row.get("score"),
                        row.get("propensity"),
                        (row.get("shadow_score"),),
                        row.get("reason"),
                    ),
                )


def _traced(
    args: argparse.Namespace, rewards: Rewards, others: list[_Other]
) -> Iterator[tuple[str | None, Row]]:
    """Yield the requests of traces, and who scored them, with other classifiers' new scores."""
    folder = store_of(args.traces)
    if not folder.exists():
        raise CommandError(f"{folder}: there are no traces (docs/evals.md says how they are kept)")
    for trace in read_traces(folder, days=(args.since, args.until), on_damaged=tell_damaged):
        if trace.is_traffic:
            # Scoring takes longer than reading: of what counts alone.
            counts = (trace.tenant, trace.request_id) in rewards
            yield (
                trace.classifier,
                Row(
                    trace.request_id,
                    trace.tenant,
                    trace.session,
                    trace.lane,
                    trace.score,
                    trace.propensity,
                    _scores(trace, others) if counts else (),
                    trace.reason,
                ),
            )


def _scores(trace: Trace, others: list[_Other]) -> tuple[float | None, ...]:
    if not others:
        return ()
    parsed = parsed_of(trace)
    return tuple(other.score(parsed) for other in others)
