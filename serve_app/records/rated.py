"""What users have rated of an experiment, from the file of feedback."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from evals.experiments.report import Outcome, Rating, Shown
from router.experiments.experiment import CONTROL, TREATMENT
from serve_app.config.experiments import ExperimentConfig

_PREFERENCES = """
SELECT at, session, lane, experiment, arm, other_lane, other_experiment, other_arm FROM feedback
WHERE kind = 'preference' AND asked >= ? AND at < ? ORDER BY id
"""

_THUMBS = """
SELECT at, session, arm, thumb, asked FROM feedback
WHERE kind = 'thumb' AND experiment = ? AND arm IS NOT NULL AND asked >= ? AND at < ? ORDER BY id
"""


def rated(path: Path, config: ExperimentConfig, since: float = 0.0) -> Shown:
    """Return what was rated while the experiment ran.

    `since`: from when on sessions are divided as they are now; what was asked before is of
    another experiment of the same name.

    A preference counts where its two answers are of the two arms, or where the client had them
    from the two lanes by name: it shows users both, and they are of the same models. Thumbs
    count of requests that the experiment divided, and of no others: who names a lane chose it.
    """
    if not path.exists():
        return Shown()
    span = max(since, config.begins), config.ends
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
        columns = {row[1] for row in db.execute("PRAGMA table_info(feedback)")}
        if "asked" not in columns:
            # Written by an earlier version, and by none since.
            return Shown()
        ratings = _ratings(db.execute(_PREFERENCES, span), config)
        thumbs = [
            Outcome(at, session or "", arm == TREATMENT, float(thumb == "up"), asked)
            for at, session, arm, thumb, asked in db.execute(_THUMBS, (config.name, *span))
        ]
    return Shown(ratings, thumbs)


def _ratings(rows: Iterable[Any], config: ExperimentConfig) -> list[Rating]:
    found = []
    for at, session, lane, experiment, arm, other_lane, other_experiment, other_arm in rows:
        sides = (
            _side(lane, experiment, arm, config),
            _side(other_lane, other_experiment, other_arm, config),
        )
        if set(sides) == {CONTROL, TREATMENT}:
            found.append(Rating(at, session or "", sides[0] == TREATMENT))
    return found


def _side(
    lane: str | None, experiment: str | None, arm: str | None, config: ExperimentConfig
) -> str | None:
    """Return which of the two an answer is of; None: neither."""
    if experiment == config.name:
        return arm
    sides = {config.control: CONTROL, config.treatment: TREATMENT}
    return sides.get(lane or "")
