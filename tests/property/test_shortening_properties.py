"""What must always hold of long tool results that are cut."""

import json

from hypothesis import assume, example, given
from hypothesis import strategies as st

from benchmarks.support.agent_bodies import DIALECTS
from router.agents.cut_json import cut_json
from router.agents.cut_text import cut_text
from router.agents.shorten import ResultLimit, shorten
from serve_app.agents.results import shortening
from serve_app.bodies.steps import at_once
from tests.examples import examples

ACCENTS = "ae\u0301\u0308 \n\r👩\u200d🔬🇦🇹👍\U0001f3fd한\u1112\u1161\u11ab"
letters = st.text(st.sampled_from(ACCENTS) | st.characters(), max_size=40)


@st.composite
def long_texts(draw):
    """Texts of up to some thousand bytes, of a few pieces again and again."""
    pieces = draw(st.lists(letters, min_size=1, max_size=4))
    return "".join(pieces[draw(st.integers(0, 3)) % len(pieces)] for _ in range(5)) * draw(
        st.integers(1, 40)
    )


scalars = st.sampled_from(
    [None, True, 0, -7, 1.5, 1e300, "", "text", "é\u0301" * 90, "\ud800" * 50]
)
values = st.recursive(
    scalars | letters,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(letters, inner, max_size=4),
    max_leaves=8,
)


@st.composite
def json_texts(draw):
    """Arrays and objects of a few values, again and again."""
    few, times = draw(st.lists(values, max_size=4)), draw(st.integers(1, 60))
    members = {f"{name * 7} {name}": few[name % len(few)] for name in range(len(few) * times)}
    return json.dumps(
        draw(st.sampled_from([few * times, members, {"rows": few * times, "next": few}])),
        indent=draw(st.sampled_from([None, 2])),
        ensure_ascii=draw(st.booleans()),
    )


texts = long_texts() | json_texts()
limits = st.integers(2, 800)


def size(text) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


@given(texts, limits)
@examples(150)
def test_the_limit_is_kept_and_what_is_cut_once_is_not_cut_again(text, max_bytes):
    short = shorten(text, max_bytes)

    assert size(short) <= max(max_bytes, size(text) if size(text) <= max_bytes else 0)
    assert shorten(short, max_bytes) == short
    assert shorten(text, max_bytes) == short


@given(json_texts(), limits)
@examples(150)
def test_json_stays_json_of_its_kind(text, max_bytes):
    short = json.loads(shorten(text, max_bytes))

    assert type(short) is type(json.loads(text))


@given(json_texts(), st.integers(60, 800))
@examples(100)
def test_what_stays_of_json_was_there(text, max_bytes):
    """No value is made up: scalars that stay are the value's, strings begin as one of its."""
    given_ones, kept = leaves(json.loads(text)), leaves(json.loads(shorten(text, max_bytes)))

    assert all(leaf in given_ones for leaf in kept if not isinstance(leaf, str))


def leaves(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [leaf for inner in value for leaf in leaves(inner)]
    return [value]


@given(long_texts(), st.integers(120, 800))
@examples(150)
def test_a_text_keeps_how_it_begins_and_how_it_ends(text, max_bytes):
    assume(size(text) > max_bytes)

    short = cut_text(text, max_bytes)
    head, _, rest = short.rpartition("\n[... ")
    marker, _, tail = rest.partition(" bytes cut here ...]\n")

    assert text.startswith(head) and text.endswith(tail)
    assert marker == f"{size(text) - size(head) - size(tail)} of {size(text)}"
    assert size(short) > max_bytes // 2


@given(st.text(max_size=400), limits)
@example("\ud800" * 300, 100)
@examples(100)
def test_no_character_falls_apart(text, max_bytes):
    shorten(text, max_bytes).encode("utf-8", "surrogatepass").decode("utf-8", "surrogatepass")


@given(
    st.sampled_from(list(DIALECTS)),
    st.lists(st.lists(texts, min_size=1, max_size=3), min_size=1, max_size=4),
    st.integers(70, 400),
)
@examples(60)
def test_a_result_is_cut_alike_in_every_request_of_its_conversation(path, results, max_tokens):
    """Each turn's body begins with the one before it: the prefix cache has read it."""
    limit = ResultLimit(max_tokens, 1)
    field = "input" if path == "/v1/responses" else "messages"
    turns = [[["read", {}, text] for text in turn] for turn in results]
    before = []
    for number in range(len(turns)):
        for calls in range(1, len(turns[number]) + 1):
            body = DIALECTS[path]([*turns[:number], turns[number][:calls]])
            cut = at_once(shortening(body, path, limit))
            sent = (body if cut is None else cut[0])[field]
            assert sent[: len(before)] == before
            before = sent


@given(json_texts(), limits)
@examples(100)
def test_reading_it_never_fails(text, max_bytes):
    for broken in (text[:-1], text[1:], text + "}", text * 2):
        cut = cut_json(broken, max_bytes)
        assert cut is None or size(cut) <= max_bytes
        assert size(shorten(broken, max_bytes)) <= max(max_bytes, 0)
