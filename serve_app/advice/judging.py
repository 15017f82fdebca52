"""All triggers of a deployment, judged point by point as they come, or over a history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from router.advice.judge import Standing, State, Verdict, judge, kept_since
from router.advice.series import Point, Series
from router.advice.table import TRIGGERS, Prices, Subject, advice, applies
from router.advice.trigger import DAY, HOUR, Trigger
from serve_app.advice.signals import Key, Values
from serve_app.config.advice import AdviceConfig

FIVE_MINUTES = 300.0
NOTHING_YET = Verdict(State.TOO_LITTLE, float("nan"), 0.0, 0.0, 0.0, None)


def triggers_of(config: AdviceConfig) -> list[Trigger]:
    """Return the rows of the table as a fleet file wants them."""
    return [_limited(x, config) for x in TRIGGERS if x.name not in config.off]


def _limited(trigger: Trigger, config: AdviceConfig) -> Trigger:
    limit = config.limits.get(trigger.name)
    if limit is None:
        return trigger
    return replace(trigger, limit=limit, clear=limit * trigger.clear / trigger.limit)


def step_of(trigger: Trigger, period_s: float) -> float:
    """Return the width of the points that a trigger is judged by."""
    if trigger.hold_s <= HOUR:
        return period_s
    return FIVE_MINUTES if trigger.hold_s <= DAY else HOUR


class Judging:
    """The triggers of some subjects, and the points that they are judged by.

    Args:
        prices: of the cards that a remedy takes.
        window_s: judge so long a window instead of each trigger's own.

    """

    def __init__(
        self,
        config: AdviceConfig,
        subjects: Sequence[Subject],
        prices: Prices = Prices(),
        window_s: float | None = None,
    ) -> None:
        self._config = config
        self._prices = prices
        self._triggers = triggers_of(config)
        if window_s is not None:
            self._triggers = [replace(x, hold_s=window_s) for x in self._triggers]
        self._subjects = list(subjects)
        self._series: dict[tuple[float, str, str], Series] = {}
        self._standings: dict[tuple[str, str], Standing] = {}
        self._verdicts: dict[tuple[str, str], Verdict] = {}

    def apply(self, config: AdviceConfig, subjects: Sequence[Subject], prices: Prices) -> None:
        """Judge other subjects, or by other limits, from now on; remedies cost this."""
        self._prices = prices
        if config != self._config:
            self._config, self._triggers = config, triggers_of(config)
        self._subjects = list(subjects)

    @property
    def wanted(self) -> dict[float, set[str]]:
        """The signals that are needed, by the width of their points."""
        wanted: dict[float, set[str]] = {}
        for trigger in self._triggers:
            wanted.setdefault(self._step(trigger), set()).add(trigger.signal)
        return wanted

    def memory_s(self, step_s: float) -> float:
        """How far back points of a width have to be known."""
        of_step = [x.memory_s for x in self._triggers if self._step(x) == step_s]
        return max(of_step, default=0.0) + step_s

    def _step(self, trigger: Trigger) -> float:
        return step_of(trigger, self._config.period_s)

    def add(self, step_s: float, at: float, values: Values) -> None:
        """Take in a step's points and judge the triggers that are judged by them."""
        wanted = self.wanted.get(step_s, set())
        for (signal, name), (total, weight) in values.items():
            if signal in wanted:
                series = self._series.setdefault((step_s, signal, name), Series(step_s))
                series.add(Point(at, total, weight))
                series.forget(at - self.memory_s(step_s))
        for trigger, subject in self._pairs():
            if self._step(trigger) == step_s:
                self._judge(trigger, subject.name, at)

    def _pairs(self) -> Iterable[tuple[Trigger, Subject]]:
        for trigger in self._triggers:
            for subject in self._subjects:
                if applies(trigger, subject):
                    yield trigger, subject

    def _judge(self, trigger: Trigger, subject: str, at: float) -> None:
        series = self._series.get((self._step(trigger), trigger.signal, subject))
        if series is None:
            return
        key = trigger.name, subject
        found = judge(trigger, series, at, self._standings.get(key, Standing()))
        self._verdicts[key], self._standings[key] = found

    def recall(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take over since when triggers fire, from rows that were written before a restart."""
        for row in rows:
            key = str(row.get("trigger")), str(row.get("subject"))
            if key in self._standings and isinstance(row.get("since"), int | float):
                self._standings[key] = kept_since(self._standings[key], float(row["since"]))

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each trigger and subject that it applies to, firing ones first."""
        rows = []
        for trigger, subject in self._pairs():
            key = trigger.name, subject.name
            verdict = self._verdicts.get(key, NOTHING_YET)
            since = self._standings.get(key, Standing()).since
            rows.append(advice(trigger, subject, replace(verdict, since=since), self._prices))
        return sorted(rows, key=_order)


def _order(row: Mapping[str, Any]) -> tuple[int, int]:
    states = (State.FIRING.value, State.TOO_LITTLE.value, State.CLEAR.value)
    return states.index(row["state"]), ("now", "soon", "save").index(row["severity"])


def firing(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of the triggers that fire anywhere, each once."""
    fired = (row["trigger"] for row in rows if row["state"] == State.FIRING.value)
    return list(dict.fromkeys(fired))


def merged(parts: Iterable[Values]) -> Values:
    """Add the points of several steps up to those of one longer step."""
    sums: dict[Key, tuple[float, float]] = {}
    for part in parts:
        for key, (total, weight) in part.items():
            before = sums.get(key, (0.0, 0.0))
            sums[key] = before[0] + total, before[1] + weight
    return sums
