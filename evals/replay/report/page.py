"""The page: what the gate says, figures, tools, the trend, and the worst answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evals.replay.cases import last_words
from evals.replay.gate import Gate
from evals.replay.history import Day, fallen
from evals.replay.report.charts import interval, trend
from evals.replay.report.diffs import cut, side_by_side, told
from evals.replay.report.markup import Markup, element, joined, table, text
from evals.replay.report.style import CSS
from evals.replay.said import Said
from evals.replay.scoring import PERFECT, Scored, Summary
from evals.replay.tool_f1 import macro_f1

MOST_SHOWN = 60
OPEN_AT_FIRST = 3
ASKED_CHARS = 2000

# Nothing of the page is fetched and nothing runs, whatever a trace managed to put into it.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Told:
    """What a page says beside the figures.

    Attributes:
        candidate, incumbent: names of the lanes, or of where the incumbent's answers are from.
        when: day and hour, as people read it.
        skipped: why traces made no case, and how many.
        unanswered: requests that the deployment could not answer in time.
        history: of the same candidate and incumbent, this run last; empty: there is none.
        asked: how both were described, `kv=fp8,kv=16bit`; empty: by their names.

    """

    candidate: str
    incumbent: str
    when: str
    skipped: Mapping[str, int] = field(default_factory=dict)
    unanswered: int = 0
    history: Sequence[Day] = ()
    asked: str = ""


def page(told_of: Told, summary: Summary, scored: Sequence[Scored]) -> str:
    """Return the whole page."""
    title = f"Replay: {told_of.candidate} against {told_of.incumbent}"
    head = element(
        "head",
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{text(POLICY)}">'),
        element("title", title),
        Markup(f"<style>{CSS}</style>"),
    )
    body = element(
        "body",
        element("h1", title),
        element("p", _subtitle(told_of, summary), class_="sub"),
        _gates(summary),
        _figures(told_of, summary),
        _tools(summary, told_of.history),
        _trend(told_of.history),
        _worst(told_of, summary, scored),
        _left_out(told_of),
    )
    return "<!doctype html>\n" + element("html", head, body, lang="en")


def _subtitle(told_of: Told, summary: Summary) -> str:
    asked = f", asked for as {told_of.asked}" if told_of.asked else ""
    return f"{summary.cases:,} cases, {told_of.when}{asked}"


def _gates(summary: Summary) -> Markup:
    cards = [_gate(name, gate) for name, gate in summary.gates.items()]
    if not cards:
        return element("p", "No case says what is right: nothing can be gated.", class_="note")
    return element("div", *cards, class_="gates")


def _gate(name: str, gate: Gate) -> Markup:
    ratio = gate.ratio
    figures = f"{_share(gate.candidate)} against {_share(gate.incumbent)}"
    if ratio is not None:
        figures += f": {ratio.value:.3f} of it ({ratio.low:.3f} to {ratio.high:.3f})"
    parts = (
        element("b", name),
        element("span", gate.verdict.value, class_="verdict"),
        interval(gate),
        element("p", figures),
        element("p", f"{gate.cases:,} cases; {gate.least_ratio:g} of the incumbent is asked"),
    )
    return element("div", *parts, class_=f"gate {gate.verdict.value.split()[0]}")


def _figures(told_of: Told, summary: Summary) -> Markup:
    s, both = summary, [told_of.candidate, told_of.incumbent]
    rows: list[list[object]] = [
        ["F1 of tool selection", _share(s.selection.f1), _share(s.incumbent_selection.f1)],
        ["the same, mean over tools", _share(macro_f1(s.selection_by_tool)), ""],
        ["the same, of rare tools alone", _share(s.rare_selection.f1), ""],
        [
            "F1 of whole calls (right arguments, too)",
            _share(s.calls.f1),
            _share(s.incumbent_calls.f1),
        ],
        ["final answers", _share(s.answers_gate.candidate), _share(s.answers_gate.incumbent)],
    ]
    if s.changes is not None:
        rows += [
            ["answered alike, texts and calls", _share(s.changes.same_share), ""],
            ["text kept up to the first difference", _share(s.changes.kept_share), ""],
        ]
    if s.changes is not None and s.answers_gate.cases:
        rows.append(["better than the other", str(s.changes.better), str(s.changes.worse)])
    known = [row for row in rows if any(x not in ("", "-") for x in row[1:])]
    parts = [element("h2", "Figures"), table(["", *both], known)]
    if s.bias is not None:
        parts.append(element("p", _bias(summary), class_="note"))
    return joined(*parts)


def _bias(summary: Summary) -> str:
    bias = summary.bias
    assert bias is not None
    said = (
        f"The judge saw {bias.pairs:,} pairs in both orders; in {bias.flips:.0%} the same place "
        "won twice, and neither answer is preferred there."
    )
    if bias.first is None:
        return said
    leans = "it leans" if bias.leans else "no lean that chance does not explain"
    first = f"{bias.first.value:.0%} of its verdicts ({leans})"
    return f"{said} It named the answer shown first in {first}."


def _tools(summary: Summary, history: Sequence[Day]) -> Markup:
    if not summary.selection_by_tool:
        return Markup("")
    fell = fallen(history)
    rows: list[list[object]] = []
    order = sorted(summary.selection_by_tool.items(), key=lambda x: (x[1].f1 or 0.0, x[0]))
    for tool, counts in order:
        tags = [element("span", "rare", class_="tag")] if tool in summary.rare else []
        then = ""
        if tool in fell:
            then = element("span", f"{fell[tool][0]:.2f}, fell", class_="down")
        calls = summary.calls_by_tool[tool]
        rows.append(
            [
                joined(tool, *tags),
                *(str(x) for x in (counts.wanted, counts.made, counts.right, calls.right)),
                _share(counts.f1),
                _share(calls.f1),
                then,
            ]
        )
    head: list[object] = ["", "wanted", "made", "right tool", "right arguments"]
    head += ["F1 of the tool", "F1 of the call", "week before"]
    return joined(element("h2", "Tools, the worst first"), table(head, rows))


def _trend(history: Sequence[Day]) -> Markup:
    if len(history) < 2:
        return Markup("")
    lines = {
        "F1 of tool selection": [x.selection_f1 for x in history],
        "F1 of whole calls": [x.call_f1 for x in history],
        "final answers": [x.answers for x in history],
    }
    known = {k: v for k, v in lines.items() if any(x is not None for x in v)}
    if not known:
        return Markup("")
    drawn = trend([x.day for x in history], known, 0.92)
    return joined(element("h2", f"The last {len(history)} runs"), drawn)


def _worst(told_of: Told, summary: Summary, scored: Sequence[Scored]) -> Markup:
    found = sorted((x for x in scored if any(x.badness)), key=lambda x: x.badness, reverse=True)
    # What both answered in the same words is no difference, whether it is right or wrong.
    bad = [x for x in found if x.same is not True]
    title = element("h2", f"Where they differ: {len(bad):,} of {summary.cases:,} cases")
    if len(found) > len(bad):
        alike = f"Both gave the same wrong answer to {len(found) - len(bad):,} more."
        title = joined(title, element("p", alike, class_="note"))
    if not bad:
        return joined(title, element("p", "Nowhere.", class_="note"))
    shown = [_case(told_of, one, n < OPEN_AT_FIRST) for n, one in enumerate(bad[:MOST_SHOWN])]
    more = len(bad) - len(shown)
    if more:
        shown.append(element("p", f"{more:,} more are in answers.jsonl.", class_="note"))
    return joined(title, *shown)


def _case(told_of: Told, one: Scored, is_open: bool) -> Markup:  # noqa: FBT001
    name, right = _right(told_of, one)
    left, ours = side_by_side(told(right), told(one.candidate))
    sides = element(
        "div",
        element("div", element("b", name), element("pre", left)),
        element("div", element("b", told_of.candidate), element("pre", ours)),
        class_="sides",
    )
    expected = ""
    if one.case.answers:
        expected = element("p", "expected: " + " | ".join(one.case.answers), class_="asked")
    summary = element("summary", element("span", _why(one), class_="why"), one.case.name, _tag(one))
    asked = element("p", cut(last_words(one.case), ASKED_CHARS), class_="asked")
    if is_open:
        return element("details", summary, asked, expected, sides, open="")
    return element("details", summary, asked, expected, sides)


def _right(told_of: Told, one: Scored) -> tuple[str, Said]:
    """Return what the candidate's answer is shown beside: the incumbent's, else what was wanted."""
    if one.incumbent is not None:
        return told_of.incumbent, one.incumbent
    calls = one.case.wanted[0] if one.case.wanted else ()
    return PERFECT, Said("\n".join(one.case.answers), calls)


def _why(one: Scored) -> str:
    selection, calls, answer, wrong, _ = one.badness
    for name, holds in (
        ("no call", selection and not one.candidate.calls),
        ("wrong tool", selection),
        ("wrong arguments", calls),
        ("worse answer", answer),
        ("wrong answer, as the incumbent's", wrong == 1.0 and one.incumbent is not None),
        ("wrong answer", wrong == 1.0),
    ):
        if holds:
            return name
    return "differs"


def _tag(one: Scored) -> Markup:
    judged = "order decided" if one.judged is not None and one.judged.is_flipped else one.check
    tags = [x for x in (one.case.source, judged) if x]
    return joined(*(element("span", x, class_="tag") for x in tags))


def _left_out(told_of: Told) -> Markup:
    lines = [f"{count:,}: {why}" for why, count in told_of.skipped.items()]
    if told_of.unanswered:
        lines.append(f"{told_of.unanswered:,}: the deployment did not answer; run it again")
    if not lines:
        return Markup("")
    return joined(
        element("h2", "Left out"), element("ul", *(element("li", line) for line in lines))
    )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
