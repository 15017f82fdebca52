"""What must always hold of the stable part of a prompt."""

from datetime import datetime

from hypothesis import example, given
from hypothesis import strategies as st

from router.placement.session import derive_session_id
from router.stable_text.stable_text import own_words, stable_text

PROSE = (
    "you are the assistant of a shop that sells bicycles and answers questions about them in"
    " french with care never guess always cite sources when asked use tools first"
)
WORDS = PROSE.split()
LINES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join)
PROMPTS = st.lists(LINES, min_size=1, max_size=8)
HEX = "0123456789abcdef"
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2089, 12, 31, 23, 59, 59))  # noqa: DTZ001
FORMS = (
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d",
    "%m/%d/%Y, %I:%M:%S %p",
    "%d.%m.%Y %H:%M",
    "%A, %d %B %Y",
    "%B %d, %Y at %I:%M %p",
    "%a %b %d %Y %H:%M:%S GMT+0100",
    "%a, %d %b %Y %H:%M:%S +0000",
    "%H:%M:%S",
    "%I:%M %p",
)
CLOCKS = st.builds(lambda moment, form: moment.strftime(form), MOMENTS, st.sampled_from(FORMS))
LABELS = st.sampled_from(
    ["Current time: {}", "Today's date is {}.", "It is now {}.", "<datetime>{}</datetime>", "{}"]
)
CLOCK_LINES = st.builds(str.format, LABELS, CLOCKS)
HEADERS = st.builds(
    "x-anthropic-billing-header: cc_version=2.1.{}.{}; cc_entrypoint=cli; cch={};".format,
    st.integers(0, 999),
    st.text(HEX, min_size=3, max_size=3),
    st.text(HEX, min_size=5, max_size=5),
)
COMMITS = st.lists(
    st.builds("{} {}".format, st.text(HEX, min_size=7, max_size=12), LINES), max_size=4
)
CHANGES = st.lists(
    st.builds(
        "{} src/{}.py".format,
        st.sampled_from(["M", "??", " M", "A "]),
        st.text("abc_", min_size=1, max_size=8),
    ),
    max_size=4,
)
STATES = st.builds(
    lambda branch, changes, commits: "\n".join(
        [
            "gitStatus: as it was.",
            f"Current branch: {branch}",
            "",
            "Status:",
            *(changes or ["(clean)"]),
            "",
            "Recent commits:",
            *commits,
            "",
        ]
    ),
    st.sampled_from(["main", "fix/parser-2"]),
    CHANGES,
    COMMITS,
)
PIECES = st.one_of(CLOCK_LINES, HEADERS, STATES)


@st.composite
def sprinkled(draw, prompt):
    """The prompt with pieces that change between its lines, each of them any number of times."""
    lines = []
    for line in prompt:
        lines += [*draw(st.lists(PIECES, max_size=2)), line]
    return "\n".join([*lines, *draw(st.lists(PIECES, max_size=2))])


@given(st.data(), PROMPTS)
def test_what_changes_may_come_go_and_change(data, prompt):
    text = data.draw(sprinkled(prompt))

    assert stable_text(text) == stable_text("\n".join(prompt)) == "\n".join(prompt)


@given(LINES, LINES, CLOCKS)
def test_nothing_of_a_clock_in_a_sentence_is_left(before, after, clock):
    left = stable_text(f"{before} {clock} {after}")

    assert not any(map(str.isdigit, left))
    # A number takes the plural of the next word with it.
    known = {word.rstrip("s") for word in [*before.split(), *after.split(), "at"]}
    assert {word.rstrip("s") for word in left.replace(",", "").split()} <= known


@given(MOMENTS, MOMENTS, st.sampled_from(FORMS), LINES, LINES)
def test_two_moments_of_one_form_leave_one_text(one, other, form, before, after):
    texts = {stable_text(f"{before} {x.strftime(form)} {after}") for x in (one, other)}

    assert len(texts) == 1


@given(st.data(), PROMPTS, st.sampled_from(WORDS))
def test_another_word_is_another_conversation(data, prompt, word):
    """Wherever it stands, and whatever stands around it."""
    at = data.draw(st.integers(0, len(prompt) - 1))
    words = prompt[at].split()
    where = data.draw(st.integers(0, len(words) - 1))
    changed = [*prompt]
    changed[at] = " ".join([*words[:where], word, *words[where + 1 :]])

    ids = [
        derive_session_id("t", stable_text(data.draw(sprinkled(x))), "hi")
        for x in (prompt, changed)
    ]

    assert (ids[0] == ids[1]) == (words[where] == word)


@given(st.text(max_size=200))
@example("İ 10:04")
@example("\ud800 10:04")
def test_any_text_has_a_stable_part_and_own_words(text):
    """Twice the same: no state, and no text is refused."""
    assert stable_text(text) == stable_text(text)
    assert derive_session_id(stable_text(text), own_words(text)).startswith("derived-")


@given(st.lists(st.one_of(LINES, PIECES), max_size=8))
def test_it_is_never_longer_than_the_text(lines):
    text = "\n".join(lines)

    assert len(stable_text(text)) <= len(text)
