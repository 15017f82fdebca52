"""Streams whose drift is judged, as points of the history, and what was found of them.

By lane, and by the largest tenants of each: the mean score, the share of the scored requests that a
stronger lane gets, thumbs up, valid tool calls. Counts come from the ingress replicas and from
`feedback.db`, every five minutes; they are judged every hour (`router.advice.drift`), by the points
that the history has, so that a restart changes nothing.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from router.advice.drift import Drift, drift_of
from router.advice.series import Point
from router.advice.table import Subject
from router.advice.trigger import DAY, HOUR
from serve_app.advice.history import History
from serve_app.advice.signals import Values
from serve_app.records.streams import ALL, Counts

logger = logging.getLogger("ray.serve")

REMEMBERED_S = 14 * DAY
"""What is older is no part of what is normal."""

MOST_TOLD = 3
"""Streams of a lane that are named at once, the clearest first."""

MOST_TENANTS = 8
"""Tenants that have streams of their own: the largest that were there first."""

KEPT = "drift_tenants"

SCORE, SHARE, THUMBS, CALLS = "drift_score", "drift_share", "drift_thumbs", "drift_calls"
STREAMS = {
    SCORE: "mean score",
    SHARE: "share of the scored requests",
    THUMBS: "thumbs up",
    CALLS: "valid tool calls",
}


@dataclass(frozen=True, slots=True)
class _Found:
    signal: str
    tenant: str
    drift: Drift

    def told(self, lane: str) -> str:
        whose = "all tenants" if self.tenant == ALL else self.tenant
        since = datetime.fromtimestamp(self.drift.since, UTC).strftime("%Y-%m-%d %H:%M UTC")
        drift = self.drift
        return (
            f"{STREAMS[self.signal]} of {whose} on '{lane}' went from {drift.before:.3g} to "
            f"{drift.after:.3g} about {since}"
        )


class DriftWatch:
    """Makes the points, and judges them; called on threads, by one at a time.

    Args:
        history: has the points.
        feedback: path of `feedback.db`.

    """

    def __init__(self, history: History, feedback: Path) -> None:
        self._history = history
        self._feedback = feedback
        self._found: dict[str, list[_Found]] = {}
        self._counted_at: float | None = None
        self.waiting: Values = {}

    def count(self, exported: Iterable[object], stronger: Collection[str], at: float) -> None:
        """Make the points of the time since the last call; they wait to be kept.

        `exported`: what each ingress replica took of its streams, or a fault.
        """
        counts = _added(x for x in exported if isinstance(x, dict))
        values = stream_values(counts, self._own(counts), stronger)
        since, self._counted_at = self._counted_at, at
        if since is not None:
            values |= self._thumbs(since, at)
        self.waiting = values

    def taken(self) -> Values:
        """Return the points that wait, once, and how far each lane has drifted."""
        values, self.waiting = self.waiting, {}
        for lane, found in self._found.items():
            values["drift", lane] = found[0].drift.strength, 1.0
        return values

    def judge(self, now: float) -> None:
        """Look at the last two weeks' hours of every stream."""
        streams: dict[tuple[str, str], list[Point]] = defaultdict(list)
        for at, values in self._history.points(HOUR, now - REMEMBERED_S, now):
            for key, (total, weight) in values.items():
                if key[0] in STREAMS:
                    streams[key].append(Point(at, total, weight))
        lanes: dict[str, list[_Found]] = defaultdict(list)
        for (signal, name), points in streams.items():
            drift = drift_of(points)
            lane, _, tenant = name.partition("/")
            if drift is not None:
                lanes[lane].append(_Found(signal, tenant, drift))
        self._found = {
            lane: sorted(found, key=lambda x: -x.drift.strength) for lane, found in lanes.items()
        }

    def told(self, subject: Subject) -> Subject:
        """Return a subject with what has drifted of it among its facts."""
        found = self._found.get(subject.name)
        if found is None:
            return subject
        drifted = [x for x in found if x.drift.strength >= 1.0] or found[:1]
        told = "; ".join(x.told(subject.name) for x in drifted[:MOST_TOLD])
        if len(drifted) > MOST_TOLD:
            told += f"; and {len(drifted) - MOST_TOLD} more streams of it"
        return replace(subject, facts={**subject.facts, "drifted": told})

    def _own(self, counts: Counts) -> set[str]:
        """Return the tenants that have streams of their own; they stay the same once they have."""
        known = [str(x) for x in self._history.kept(KEPT) or ()]
        sizes: Counter[str] = Counter()
        for tenants in counts.values():
            for tenant, sums in tenants.items():
                sizes[tenant] += sums[0] + sums[2]
        new = [x for x, _ in sizes.most_common() if x != ALL and x not in known]
        added = new[: MOST_TENANTS - len(known)]
        if added:
            self._history.keep(KEPT, [*known, *added])
        return {ALL, *known, *added}

    def _thumbs(self, since: float, until: float) -> Values:
        own = {ALL, *map(str, self._history.kept(KEPT) or ())}
        values: Values = {}
        for lane, tenant, ups, count in _thumbs(self._feedback, since, until):
            for name in {ALL, tenant} & own:
                before = values.get((THUMBS, f"{lane}/{name}"), (0.0, 0.0))
                values[THUMBS, f"{lane}/{name}"] = before[0] + ups, before[1] + count
        return values


def stream_values(counts: Counts, own: Collection[str], stronger: Collection[str]) -> Values:
    """Return points of scores, shares and tool calls, by signal and `lane/tenant`."""
    scored: Counter[str] = Counter()
    values: Values = {}
    for lane, tenants in counts.items():
        for tenant, (count, score, calls, valid) in tenants.items():
            scored[tenant] += count
            if tenant in own and count:
                values[SCORE, f"{lane}/{tenant}"] = score, float(count)
            if tenant in own and calls:
                values[CALLS, f"{lane}/{tenant}"] = float(valid), float(calls)
    for lane in stronger:
        for tenant, count in scored.items():
            if tenant in own and count:
                here = counts.get(lane, {}).get(tenant, (0, 0.0, 0, 0))[0]
                values[SHARE, f"{lane}/{tenant}"] = float(here), float(count)
    return values


def _added(exported: Iterable[Counts]) -> Counts:
    """Add up what the ingress replicas have counted."""
    lanes: Counts = {}
    for counts in exported:
        for lane, tenants in counts.items():
            sums = lanes.setdefault(lane, {})
            for tenant, (scored, score, calls, valid) in tenants.items():
                a, b, c, d = sums.get(tenant, (0, 0.0, 0, 0))
                sums[tenant] = a + scored, b + score, c + calls, d + valid
    return lanes


def _thumbs(path: Path, since: float, until: float) -> list[tuple[str, str, float, float]]:
    """Lane, tenant, thumbs up and thumbs of a time; none where the file cannot be read now."""
    query = (
        "SELECT lane, tenant, sum(thumb = 'up'), count(*) FROM feedback"
        " WHERE at > ? AND at <= ? AND thumb IS NOT NULL GROUP BY lane, tenant"
    )
    if not path.exists():
        return []
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            return db.execute(query, (since, until)).fetchall()
    except sqlite3.Error as error:
        logger.debug("advice: no feedback was counted: %s", error)
        return []
