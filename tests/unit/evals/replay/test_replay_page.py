"""The page of a replay."""

from dataclasses import replace
from html.parser import HTMLParser

from evals.replay.cases import gold_case
from evals.replay.history import Day
from evals.replay.judging import Judged
from evals.replay.report.diffs import call_text, side_by_side
from evals.replay.report.markup import text
from evals.replay.report.page import Told, page
from evals.replay.said import Said
from evals.replay.scoring import Checks, score, summarize
from evals.replay.tool_f1 import ToolCall

EVIL = "</pre><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
TOLD = Told("quality", "chat", "2026-11-30")
DAY = Day(at=1.0, day="2026-11-29", lane="quality", against="chat", selection_f1=0.95,
          tools={"find": 1.0})  # fmt: skip


class Tags(HTMLParser):
    """Counts tags and checks that they close."""

    VOID = frozenset({"meta"})

    def __init__(self, page_text) -> None:
        super().__init__()
        self.tags, self.attributes, self.open = [], [], []
        self.feed(page_text)
        self.close()

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag


def made(told=TOLD, evil=""):
    case = gold_case(
        {"id": f"one{evil}", "messages": [{"role": "user", "content": f"Find it {evil}"}],
         "calls": [{"name": f"find{evil}", "arguments": {"q": f"it{evil}"}}], "answer": f"7{evil}"},
        "f:1",
    )  # fmt: skip
    ours = Said(f"eight {evil}", (ToolCall(f"lose{evil}", f"{{{evil}"),), "stop", evil)
    scored = [score(case, ours, Said(f"7 {evil}", case.wanted[0]), Checks({}, {}))]
    return page(told, summarize(scored), scored)


def test_the_page_says_what_the_gate_says_and_where_they_differ() -> None:
    found = made()

    assert "too few to tell" in found
    assert "wrong tool" in found and "no call" not in found
    assert "<del>find</del>" in found
    assert "<ins>lose</ins>" in found
    assert not Tags(found).open


def test_nothing_that_a_trace_says_becomes_markup() -> None:
    """Names of lanes, cases, tools, arguments, answers, reasons: all of it is hostile."""
    told = Told(EVIL, EVIL, EVIL, {EVIL: 3}, 2, [replace(DAY, day=EVIL, tools={EVIL: 1.0})] * 2)

    tags, plain = Tags(made(told, EVIL)), Tags(made(replace(told, candidate="a", incumbent="b")))

    assert not {"script", "img", "a", "link", "iframe"} & set(tags.tags)
    assert not any(name.startswith("on") or name in ("src", "href") for name in tags.attributes)
    assert not tags.open
    assert set(tags.tags) == set(plain.tags)


def test_signs_that_turn_text_around_are_shown_and_not_obeyed() -> None:
    assert text("a\u202eb\x00\n") == "a⟨202E⟩b⟨0000⟩\n"


def test_the_page_fetches_nothing() -> None:
    found = made()

    assert "default-src 'none'" in text("default-src 'none'").replace("&#x27;", "'")
    assert 'http-equiv="Content-Security-Policy"' in found
    assert "//" not in found.replace("<!doctype", "")


def test_a_judges_bias_a_trend_and_a_fallen_tool_are_told() -> None:
    case = gold_case({"messages": [{"role": "user", "content": "x"}],
                      "calls": [{"name": "find"}]}, "f:1")  # fmt: skip
    open_case = gold_case({"messages": [{"role": "user", "content": "y"}]}, "f:2")
    judged = Checks({}, {open_case.digest: Judged("A", "A")})
    scored = [
        score(case, Said("no"), Said(calls=case.wanted[0]), judged),
        score(open_case, Said("x"), Said("y"), judged),
    ]
    history = [DAY, replace(DAY, at=2.0, day="2026-11-30", tools={"find": 0.0})]

    found = page(replace(TOLD, history=history), summarize(scored), scored)

    assert "in 100% the same place won twice" in found
    assert "The last 2 runs" in found
    assert "1.00, fell" in found
    assert "no call" in found and "wrong tool" not in found
    assert "order decided" in found


def test_days_that_have_answers_alone_have_a_trend_as_well() -> None:
    days = [replace(DAY, selection_f1=None, answers=x, day=f"2026-11-2{n}", at=float(n))
            for n, x in enumerate((0.9, 0.8))]  # fmt: skip

    found = page(replace(TOLD, history=days), summarize([]), [])

    assert "The last 2 runs" in found
    assert found.count('class="dot l0"') == 2 and ">final answers</text>" in found


def test_only_what_differs_is_marked() -> None:
    left, right = side_by_side("the red car", "the blue car")

    assert (left, right) == ("the <del>red</del> car", "the <ins>blue</ins> car")
    assert side_by_side("same", "same") == ("same", "same")


def test_what_both_answer_in_the_same_wrong_words_is_counted_and_no_difference() -> None:
    cases = [
        gold_case({"id": name, "messages": [{"role": "user", "content": name}], "answer": "7"}, "f")
        for name in ("both", "lost")
    ]
    scored = [
        score(cases[0], Said("eight"), Said("eight"), Checks({}, {})),
        score(cases[1], Said("eight"), Said("7"), Checks({}, {})),
    ]

    found = page(replace(TOLD, asked="kv=fp8,kv=16bit"), summarize(scored), scored)

    assert "Where they differ: 1 of 2 cases" in found
    assert "Both gave the same wrong answer to 1 more." in found
    assert found.count("<details") == 1
    assert "asked for as kv=fp8,kv=16bit" in found


def test_a_long_text_is_cut_and_says_so() -> None:
    left, _ = side_by_side("a" * 9000, "b")

    assert "(5,000 characters more)" in left


def test_calls_are_shown_an_argument_a_line() -> None:
    assert call_text(ToolCall("f", '{"b": [1], "a": "x"}')) == 'f(\n  a: "x"\n  b: [1]\n)'
    assert call_text(ToolCall("f", "{")) == "f(no JSON: {)"
    assert call_text(ToolCall("f", "[]")) == "f(no object: [])"
    assert call_text(ToolCall("f", "")) == "f()"
