"""From answers to figures: each case scored, then all of them summed up and gated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from evals.replay.cases import Case
from evals.replay.changes import Changes, changes_of
from evals.replay.exact import is_expected, normalized
from evals.replay.gate import LEAST_RATIO, Gate, Paired, gate
from evals.replay.judging import Bias, Judged, bias_of
from evals.replay.said import Said
from evals.replay.tool_f1 import (
    CallScore,
    Counts,
    added,
    best_score,
    by_tool,
    macro_f1,
    rare_tools,
)

PERFECT = "gold"
"""Name of the incumbent where a case has none: an answer that is right."""


@dataclass(frozen=True)
class Scored:
    """One case, answered by the candidate and, where there is one, by the incumbent.

    Attributes:
        calls, incumbent_calls: None where the case does not say which calls are right; the
            incumbent's also where nothing is known of its answer: then it counts as right.
        score, incumbent_score: of the final answer, 0 to 1; None: it is not judged.
        check: how: `exact`, `command`, `judge`, or empty.
        same: the texts and calls are those of the incumbent; None: there is none.

    """

    case: Case
    candidate: Said
    incumbent: Said | None = None
    calls: CallScore | None = None
    incumbent_calls: CallScore | None = None
    score: float | None = None
    incumbent_score: float | None = None
    check: str = ""
    judged: Judged | None = None
    same: bool | None = None

    @property
    def badness(self) -> tuple[float, ...]:
        """What sorts cases for people: the wrong tool, wrong arguments, a wrong answer, another."""
        selection, calls = (
            (0.0, 0.0)
            if self.calls is None
            else (_missing(self.calls.selection), _missing(self.calls.calls))
        )
        answer = 0.0 if self.score is None else max(0.0, (self.incumbent_score or 0.0) - self.score)
        wrong = 0.0 if self.score is None else 1.0 - self.score
        return selection, calls, answer, wrong, float(self.same is False)


def _missing(counts: Counts) -> float:
    return 0.0 if counts.f1 is None else 1.0 - counts.f1


@dataclass(frozen=True)
class Checks:
    """Verdicts on answers that the texts alone do not give, by digest of the case.

    Attributes:
        passes: of a program: candidate and incumbent, 0 or 1.
        judged: of a judge that compared both.
        ties: there is a judge, so that equal texts count as neither better nor worse.

    """

    passes: dict[str, tuple[float, float | None]]
    judged: dict[str, Judged]
    ties: bool = False


def score(case: Case, candidate: Said, incumbent: Said | None, checks: Checks) -> Scored:
    """Score the answers to one case."""
    same = None if incumbent is None else _are_same(case, candidate, incumbent)
    calls, others = _calls(case, candidate), None
    if incumbent is not None:
        others = _calls(case, incumbent)
    check, ours, theirs, judged = _answer(case, candidate, incumbent, checks)
    return Scored(case, candidate, incumbent, calls, others, ours, theirs, check, judged, same)


def _calls(case: Case, said: Said) -> CallScore | None:
    if case.wanted is None:
        return None
    return best_score(said.calls, case.wanted, case.schemas, case.folded)


def _are_same(case: Case, one: Said, other: Said) -> bool:
    calls = best_score(one.calls, [other.calls], case.schemas, case.folded).calls
    return calls.right == calls.made == calls.wanted and normalized(one.text) == normalized(
        other.text
    )


def _answer(
    case: Case, candidate: Said, incumbent: Said | None, checks: Checks
) -> tuple[str, float | None, float | None, Judged | None]:
    if case.digest in checks.passes:
        ours, theirs = checks.passes[case.digest]
        return "command", ours, theirs, None
    if case.answers:
        theirs = None if incumbent is None else float(is_expected(incumbent.text, case.answers))
        return "exact", float(is_expected(candidate.text, case.answers)), theirs, None
    judged = checks.judged.get(case.digest)
    if judged is not None:
        return "judge", judged.preference, 1.0 - judged.preference, judged
    # A judge is not asked about equal texts; of a pair without a verdict nothing is known.
    if checks.ties and incumbent is not None and _are_equal_texts(candidate, incumbent):
        return "judge", 0.5, 0.5, None
    return "", None, None, None


def _are_equal_texts(one: Said, other: Said) -> bool:
    return not (one.calls or other.calls) and one.text.strip() == other.text.strip()


@dataclass(frozen=True)
class Summary:
    """A replay in figures; a figure is None where no case has it.

    Attributes:
        cases: that were answered.
        selection, calls: counts of the candidate over all cases, by the tool alone and with
            its arguments; `incumbent_*`: the incumbent's.
        selection_by_tool, calls_by_tool: of each tool.
        rare: tools that are rare in what the cases were drawn from.
        changes: what the incumbent's answers and these have in common; None: there is none.
        selection_gate, calls_gate, answers_gate: candidate against incumbent.

    """

    cases: int
    selection: Counts
    calls: Counts
    incumbent_selection: Counts
    incumbent_calls: Counts
    selection_by_tool: dict[str, Counts]
    calls_by_tool: dict[str, Counts]
    rare: frozenset[str]
    changes: Changes | None
    selection_gate: Gate
    calls_gate: Gate
    answers_gate: Gate
    bias: Bias | None

    @property
    def rare_selection(self) -> Counts:
        """Counts of the rare tools alone."""
        return added(x for tool, x in self.selection_by_tool.items() if tool in self.rare)

    @property
    def gates(self) -> dict[str, Gate]:
        """The gates that have cases, by what they are about."""
        found = {
            "tool selection": self.selection_gate,
            "tool calls": self.calls_gate,
            "final answers": self.answers_gate,
        }
        return {name: gate for name, gate in found.items() if gate.cases}

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        tools = {
            tool: {
                "selection_f1": counts.f1,
                "call_f1": self.calls_by_tool[tool].f1,
                "wanted": counts.wanted,
                "made": counts.made,
                "rare": tool in self.rare,
            }
            for tool, counts in self.selection_by_tool.items()
        }
        bias = self.bias
        return {
            "cases": self.cases,
            "selection_f1": self.selection.f1,
            "selection_macro_f1": macro_f1(self.selection_by_tool),
            "rare_selection_f1": self.rare_selection.f1,
            "call_f1": self.calls.f1,
            "call_macro_f1": macro_f1(self.calls_by_tool),
            "answers": self.answers_gate.candidate,
            "incumbent_selection_f1": self.incumbent_selection.f1,
            "incumbent_call_f1": self.incumbent_calls.f1,
            "incumbent_answers": self.answers_gate.incumbent,
            **{
                name: None if self.changes is None else getattr(self.changes, name)
                for name in ("same_share", "kept_share", "better", "worse")
            },
            "calls_wanted": self.selection.wanted,
            "gates": {name: _told(gate) for name, gate in self.gates.items()},
            "judge": bias
            and {
                "pairs": bias.pairs,
                "flips": bias.flips,
                "first": bias.first and bias.first.value,
                "leans": bias.leans,
            },
            "tools": tools,
        }


def _told(gate: Gate) -> dict[str, Any]:
    ratio = gate.ratio
    return {
        "verdict": gate.verdict.value,
        "cases": gate.cases,
        "candidate": gate.candidate,
        "incumbent": gate.incumbent,
        "ratio": ratio and ratio.value,
        "ratio_low": ratio and ratio.low,
        "ratio_high": ratio and ratio.high,
        "least_ratio": gate.least_ratio,
    }


def summarize(
    scored: Sequence[Scored], rare: frozenset[str] | None = None, least: float = LEAST_RATIO
) -> Summary:
    """Sum up; `rare`: tools that are rare in the traffic, by default in these cases."""
    judged = [x for x in scored if x.calls is not None]
    ours = [x.calls for x in judged if x.calls is not None]
    theirs = [_incumbent_calls(x) for x in judged]
    selection = by_tool(x.selection_by_tool for x in ours)
    return Summary(
        cases=len(scored),
        selection=added(x.selection for x in ours),
        calls=added(x.calls for x in ours),
        incumbent_selection=added(x.selection for x in theirs),
        incumbent_calls=added(x.calls for x in theirs),
        selection_by_tool=selection,
        calls_by_tool=by_tool(x.calls_by_tool for x in ours),
        rare=rare_tools(selection) if rare is None else rare,
        changes=changes_of(
            [
                (x.same, x.candidate.text, x.incumbent.text, x.score, x.incumbent_score)
                for x in scored
                if x.incumbent is not None and x.same is not None
            ]
        ),
        selection_gate=gate(_pairs(ours, theirs, lambda x: x.selection), least),
        calls_gate=gate(_pairs(ours, theirs, lambda x: x.calls), least),
        answers_gate=gate(list(_answer_pairs(scored)), least),
        bias=bias_of(x.judged for x in scored if x.judged is not None),
    )


def _incumbent_calls(scored: Scored) -> CallScore:
    """Return the incumbent's score; one that nothing is known of was right."""
    if scored.incumbent_calls is not None:
        return scored.incumbent_calls
    wanted = (scored.case.wanted or ((),))[0]
    return best_score(wanted, [wanted], scored.case.schemas, scored.case.folded)


def _pairs(
    ours: Sequence[CallScore], theirs: Sequence[CallScore], counts: Callable[[CallScore], Counts]
) -> list[Paired]:
    return [
        Paired(*_parts(counts(one)), *_parts(counts(other)))
        for one, other in zip(ours, theirs, strict=True)
    ]


def _parts(counts: Counts) -> tuple[float, float]:
    return 2.0 * counts.right, float(counts.made + counts.wanted)


def _answer_pairs(scored: Iterable[Scored]) -> Iterable[Paired]:
    for one in scored:
        if one.score is not None:
            yield Paired(
                one.score, 1.0, 1.0 if one.incumbent_score is None else one.incumbent_score, 1.0
            )
