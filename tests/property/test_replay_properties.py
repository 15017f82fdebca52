"""Laws of replays: F1, the gate, the page."""

import json
from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from evals.replay.gate import GateVerdict, Paired, gate
from evals.replay.report.diffs import side_by_side
from evals.replay.report.markup import element, text
from evals.replay.tool_f1 import Counts, ToolCall, score_calls

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
calls = st.builds(
    lambda name, arguments: ToolCall(name, json.dumps(arguments)),
    st.sampled_from(["find", "refund", "track"]),
    st.dictionaries(st.sampled_from(["a", "b"]), values, max_size=2),
)
several = st.lists(calls, max_size=4)


@given(several, several)
def test_f1_is_a_share_and_symmetric(one, other) -> None:
    """Precision one way is recall the other."""
    there, back = score_calls(one, other, {}), score_calls(other, one, {})

    assert there.calls.f1 == back.calls.f1
    assert there.selection.f1 == back.selection.f1
    for f1 in (there.calls.f1, there.selection.f1):
        assert f1 is None or 0.0 <= f1 <= 1.0
    assert there.calls.right <= there.selection.right


@given(several, st.randoms())
def test_the_same_calls_in_any_order_and_spelling_are_right(made, random) -> None:
    shuffled = [ToolCall(x.name, _respelled(x.arguments, random)) for x in made]
    random.shuffle(shuffled)

    found = score_calls(shuffled, made, {}).calls

    assert found == Counts(len(made), len(made), len(made))


def _respelled(arguments, random) -> str:
    keys = list(json.loads(arguments).items())
    random.shuffle(keys)
    return json.dumps(
        dict(keys), indent=random.choice([None, 1]), ensure_ascii=random.random() < 0.5
    )


outcomes = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)
ORDER = (GateVerdict.FAIL, GateVerdict.TOO_FEW, GateVerdict.PASS)


@settings(max_examples=40, deadline=None)
@given(outcomes, st.data())
def test_a_candidate_that_does_better_is_never_judged_worse(pairs, data) -> None:
    """Nor one that is held to less."""
    at = data.draw(st.integers(0, len(pairs) - 1))
    better = [(n == at or ours, theirs) for n, (ours, theirs) in enumerate(pairs)]

    before, after = (
        gate([Paired(ours, 1, theirs, 1) for ours, theirs in x]) for x in (pairs, better)
    )
    held_to_less = gate([Paired(ours, 1, theirs, 1) for ours, theirs in pairs], 0.5)

    assert ORDER.index(after.verdict) >= ORDER.index(before.verdict)
    assert ORDER.index(held_to_less.verdict) >= ORDER.index(before.verdict)


class Read(HTMLParser):
    """What a browser would show, and the tags it would see."""

    def __init__(self, given_text) -> None:
        super().__init__(convert_charrefs=True)
        self.shown, self.tags = "", []
        self.feed(given_text)
        self.close()

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data) -> None:
        self.shown += data


hostile = st.text(max_size=40) | st.text("<>&\"'/=script onerror -!", max_size=40)


@given(hostile, hostile)
def test_whatever_a_text_is_it_adds_no_tag_and_no_attribute(inner, attribute) -> None:
    read = Read(element("p", inner, class_=attribute))

    assert [tag for tag, _ in read.tags] == ["p"]
    assert list(read.tags[0][1]) == ["class"]
    assert read.shown == Read(text(inner)).shown


@settings(deadline=None)
@given(hostile, hostile)
def test_a_diff_shows_both_texts_whole_and_marks_nothing_else(left, right) -> None:
    marked = zip(side_by_side(left, right), (left, right), ("del", "ins"), strict=True)
    for side, given_text, mark in marked:
        read = Read(side)

        assert read.shown == Read(text(given_text)).shown
        assert {tag for tag, _ in read.tags} <= {mark}
