"""Other thresholds, shares, budgets and classifiers, judged by a log of explored requests."""

from __future__ import annotations

import argparse
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from classifier.report.traffic import log_files, log_lines
from evals.off_policy.estimators import Method
from evals.off_policy.logged import Floats, Logged, Row, logged_of, reward_of
from evals.off_policy.policies import Candidate, at_share, threshold_of, within_budgets
from evals.off_policy.recommending import recommended, threshold_candidate, thresholds_around
from evals.traces.store import read_traces
from serve_app.commands.client import CommandError
from serve_app.commands.traces import named_store, tell_damaged
from serve_app.config.errors import nearest
from serve_app.config.settings import state_dir
from serve_app.records.feedback_store import FILE_NAME, thumbs_of

Rewards = dict[tuple[str, str], float]
"""By tenant and request id."""


def judged(args: argparse.Namespace, version: str) -> dict[str, Any]:
    """Return every candidate with its gain, and which is recommended.

    Only requests count that the classifier of this version has scored: others' scores do not
    compare.
    """
    rewards = _rewards(args)
    rows = _traced(args.traces, version) if args.traces else _logged(args.traffic, version)
    weak, strong = args.lanes
    seen, lanes = array("d"), set[str]()
    logged = logged_of(_noting(rows, seen, lanes), rewards, weak, strong)
    for lane in (weak, strong) if lanes else ():
        if lane not in lanes:
            raise CommandError(f"--lanes: no scored request went to '{lane}'{nearest(lane, lanes)}")
    candidates = _candidates(logged, np.frombuffer(seen), args.shares, args.budgets)
    found = recommended(logged, candidates, args.price, method=Method(args.method))
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
            for row in found.rows
        ],
        "recommended": None if found.best is None else found.best.candidate.name,
        "says": found.says,
    }


def _noting(rows: Iterable[Row], seen: array[float], lanes: set[str]) -> Iterator[Row]:
    """Pass rows on, and keep the scores of all and where they went."""
    for row in rows:
        if row.score is not None:
            seen.append(row.score)
            lanes.update([] if row.lane is None else [row.lane])
        yield row


def _candidates(
    logged: Logged, scored: Floats, shares: tuple[float, ...], budgets: tuple[float, ...]
) -> list[Candidate]:
    if not len(logged):
        return []
    given = [threshold_candidate(logged, scored, threshold_of(scored, x)) for x in shares]
    found = given or thresholds_around(logged, scored)
    now = float(logged.usual_up.mean())
    if now > 0:
        edge = float(np.quantile(logged.score, 1 - now))
        found += [
            Candidate(f"budget {budget:.2%}", within_budgets(logged, edge, budget))
            for budget in budgets
        ]
    if now > 0 and not np.isnan(logged.other_score).any():
        found.append(Candidate("the shadow classifier", at_share(logged.other_score, now)))
    return found


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


def _logged(paths: list[Path], version: str) -> Iterator[Row]:
    """Yield the requests of logs; a line that cannot be read is left out."""
    for path in log_files(paths):
        for line in log_lines(path):
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if isinstance(row, dict) and row.get("classifier") == version:
                yield Row(
                    str(row.get("request_id")),
                    str(row.get("tenant")),
                    row.get("session"),
                    row.get("lane"),
                    row.get("score"),
                    row.get("propensity"),
                    row.get("shadow_score"),
                    row.get("reason"),
                )


def _traced(folder: Path, version: str) -> Iterator[Row]:
    for trace in read_traces(named_store(folder), on_damaged=tell_damaged):
        if trace.classifier == version:
            yield Row(
                trace.request_id,
                trace.tenant,
                trace.session,
                trace.lane,
                trace.score,
                trace.propensity,
                reason=trace.reason,
            )
