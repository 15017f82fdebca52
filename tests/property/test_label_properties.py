"""Laws of comparing answers."""

from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from evals.replay.exact import is_expected, normalized, number_of

# Some letters are another word in capitals: the Turkish dotless i, for one.
words = st.text(st.characters(categories=["L"]), min_size=2, max_size=12).filter(
    lambda word: normalized(word.upper()) == normalized(word)
)
phrases = st.lists(words, min_size=1, max_size=5).filter(
    lambda parts: not any("answer" in part.lower() for part in parts)
)
spaces = st.sampled_from([" ", "  ", "\t", "\n", " \u00a0"])
around = st.text(".,;:!?*_\"'` \n", max_size=5)
numbers = st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9),
                      max_value=10**9)  # fmt: skip


@given(st.text(max_size=200), st.text(max_size=50))
def test_any_text_can_be_compared(answer, expected) -> None:
    """No text breaks the comparison."""
    assert is_expected(answer, [expected]) in (True, False)


@given(st.text("0123456789.,/-+$%eE\\{}()=*ABIJ answeris:\n", max_size=60))
def test_every_answer_is_the_answer_to_itself(text) -> None:
    """What is expected, given word for word, is right."""
    assert is_expected(text, [text])


@given(st.text(max_size=100) | st.text("\\\uff3c()[]{},;:!$%- ", max_size=20))
@example("\\\\)[")
@example("\uff3c(")
def test_normalizing_twice_changes_nothing_more(text) -> None:
    """A normalized text is normalized."""
    assert normalized(normalized(text)) == normalized(text)


@given(phrases, spaces, around, around, st.booleans())
def test_dress_does_not_count(parts, space, before, after, is_upper) -> None:
    """White space, case and punctuation around change nothing; another word does."""
    plain = " ".join(parts)
    dressed = before + space.join(parts) + after

    assert is_expected(dressed.upper() if is_upper else dressed, [plain])
    assert not is_expected(dressed + " otherwise", [plain])


@given(numbers, numbers)
def test_numbers_are_equal_exactly_when_their_values_are(one, other) -> None:
    """Whatever the form: with thousands, trailing zeros, or an exponent."""
    for form in (f"{one}", f"{one:,}", f"{one:f}00", f"{one:e}"):
        assert number_of(form) == Fraction(one)
        assert is_expected(f"so we have {form}.", [str(other)]) == (one == other)
        assert is_expected(f"\\boxed{{{form}}} after 3 tries", [str(other)]) == (one == other)


@given(st.sampled_from("ABCDEFGHIJ"), st.sampled_from("ABCDEFGHIJ"), words)
def test_choices_are_equal_exactly_when_their_letters_are(one, other, option) -> None:
    """In brackets, at the start of a line, or stated."""
    for form in (f"({one}) {option}", f"{one}) {option}", f"The answer is ({one}) {option}."):
        assert is_expected(form, [other]) == (one == other)
