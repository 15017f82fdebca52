"""What an experiment has shown so far, in figures and in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from evals.experiments.power import power_of
from evals.experiments.sequential import SMALLEST, Evidence, mean_evidence, preference

METRICS = ("preference", "thumbs", "judge")
"""Tests; an experiment's own decides it, the others are shown beside it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """An experiment as its report needs it.

    Attributes:
        share: probability with which a session, or a block of time, is of the treatment.
        metric: one of `METRICS`.
        smallest: preference beyond a half that is worth finding.
        block_of: number of the block that a moment (seconds since 1970) is in, of a switchback:
            blocks were randomised, so they are what is compared; None: sessions were.

    """

    name: str
    kind: str
    control: str
    treatment: str
    share: float
    metric: str = "preference"
    alpha: float = 0.05
    smallest: float = SMALLEST
    block_of: Callable[[float], int] | None = None


@dataclass(frozen=True, slots=True)
class Rating:
    """One answer was preferred to another one; `treatment_won` is None where neither was.

    Attributes:
        at: seconds since 1970.
        session: whose it is; a session's first one counts.

    """

    at: float
    session: str
    treatment_won: bool | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an answer, in [0, 1]: a thumb is 1 or 0.

    Attributes:
        at: when it was said, in seconds since 1970.
        asked: when the answer's request was; None: then.

    """

    at: float
    session: str
    is_treated: bool
    value: float
    asked: float | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """All that was rated.

    Attributes:
        ratings: by users; `judged`: by a judge, of answers to the same prompts.

    """

    ratings: Sequence[Rating] = ()
    outcomes: Sequence[Outcome] = ()
    judged: Sequence[Rating] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """`tests` by metric; those without a rating are left out. `verdict` is a sentence."""

    experiment: str
    kind: str
    metric: str
    verdict: str
    tests: Mapping[str, Mapping[str, Any]]
    enough: Mapping[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def report_of(subject: Subject, shown: Shown) -> Report:
    """Test what was rated, in the order of time."""
    found: dict[str, Evidence] = {}
    for metric, ratings in (("preference", shown.ratings), ("judge", shown.judged)):
        wins, ties = _wins(ratings)
        if wins or ties:
            found[metric] = preference(wins, subject.alpha, subject.smallest)
    outcomes = _outcomes(shown.outcomes, subject.block_of)
    if outcomes:
        found["thumbs"] = mean_evidence(outcomes, subject.share, subject.alpha)
    tests = {metric: _row(evidence) for metric, evidence in found.items()}
    for metric, ratings in (("preference", shown.ratings), ("judge", shown.judged)):
        if metric in tests:
            tests[metric]["ties"] = _wins(ratings)[1]
    return Report(
        subject.name,
        subject.kind,
        subject.metric,
        _verdict(subject, found.get(subject.metric)),
        tests,
        _enough(subject),
    )


def first_of_each(rated: Iterable[Any]) -> list[Any]:
    """The first of each session, in the order of time; what has no session stands for itself."""
    kept: dict[object, Any] = {}
    for index, one in enumerate(sorted(rated, key=lambda x: x.at)):
        kept.setdefault(one.session or index, one)
    return list(kept.values())


def _wins(ratings: Sequence[Rating]) -> tuple[list[bool], int]:
    """Who won, in order, and how many were ties: a tie says nothing of which is better."""
    kept = first_of_each(ratings)
    wins = [x.treatment_won for x in kept if x.treatment_won is not None]
    return wins, len(kept) - len(wins)


def _outcomes(
    given: Sequence[Outcome], block_of: Callable[[float], int] | None
) -> list[tuple[bool, float]]:
    kept: list[Outcome] = first_of_each(given)
    if block_of is None:
        return [(x.is_treated, x.value) for x in kept]
    blocks: dict[int, list[Outcome]] = {}
    for one in kept:
        block = block_of(one.at)
        # What is said of a block that is over would change its mean after it was tested.
        if one.asked is None or block_of(one.asked) == block:
            blocks.setdefault(block, []).append(one)
    # The newest may not be over: its mean would be another at the next look, and so its bet.
    over = [blocks[number] for number in sorted(blocks)[:-1]]
    return [(x[0].is_treated, sum(y.value for y in x) / len(x)) for x in over]


def _row(evidence: Evidence) -> dict[str, Any]:
    return {**asdict(evidence), "p_value": evidence.p_value}


def _verdict(subject: Subject, evidence: Evidence | None) -> str:
    nothing = "nobody has rated anything yet"
    if subject.metric == "judge":
        nothing = "no judge has compared answers yet"
    what = nothing if evidence is None else _so_far(subject, evidence)
    if evidence is None or evidence.estimate is None or evidence.decided_at is None:
        return f"undecided: {what}"
    middle = 0.0 if subject.metric == "thumbs" else 0.5
    better = subject.treatment if evidence.estimate > middle else subject.control
    return f"{better} is better: {what}"


def _so_far(subject: Subject, evidence: Evidence) -> str:
    if evidence.estimate is None:
        return "there are ties alone"
    interval = f"{1 - subject.alpha:.0%} confidence sequence"
    if subject.metric == "thumbs":
        units = "blocks" if subject.block_of is not None else "sessions"
        return (
            f"thumbs up of {subject.treatment} differ by {evidence.estimate:+.1%} "
            f"({evidence.low:+.1%} to {evidence.high:+.1%}, {interval}), {evidence.n} {units}"
        )
    return (
        f"{subject.treatment} is preferred in {evidence.estimate:.1%} of {evidence.n} ratings "
        f"({evidence.low:.1%} to {evidence.high:.1%}, {interval})"
    )


def _enough(subject: Subject) -> dict[str, Any]:
    """What the smallest difference of interest takes, where preferences decide."""
    if subject.metric == "thumbs":
        return {}
    return asdict(power_of(0.5 + subject.smallest, alpha=subject.alpha, smallest=subject.smallest))
