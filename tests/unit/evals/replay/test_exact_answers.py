"""Whether an answer is the expected one, by its text."""

import pytest

from evals.replay.exact import choice_of, is_expected, normalized, number_of


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Paris", "paris"),
        ("  **Paris.** \n", "Paris"),
        ("\u201cNew   York\u201d", "new york"),
        ("\uff30aris", "Paris"),
        ("STRASSE", "straße"),
        ("The answer is Paris.", "Paris"),
        ("The answer is Paris. That was easy.", "Paris"),
        ("**Answer:** Paris", "Paris"),
        ("Final answer:\nParis\nbecause it is", "Paris"),
        (r"So it is \boxed{\text{Paris}}, done.", "Paris"),
        (r"\boxed{x^{2}}", "x^{2}"),
        ("The answer is Rome. No: the answer is Paris.", "Paris"),
        (r"The answer is Rome. \boxed{Paris}", "Paris"),
        (r"First \boxed{Rome}, then \boxed{Paris}", "Paris"),
        ("C++", "c++"),
        ("[1, 2)", "[1, 2)"),
        ("!!!", "!!!"),
    ],
)
def test_equal_texts(answer, expected) -> None:
    """Case, space, forms of letters and what stands around do not count."""
    assert is_expected(answer, [expected])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The capital of France is Paris", "Paris"),
        ("Paris, Texas", "Paris"),
        ("The answer is Paris. No: the answer is Rome.", "Paris"),
        (r"\boxed{Paris} or rather \boxed{Rome}", "Paris"),
        ("[1, 2]", "(1, 2)"),
        ("C", "C++"),
        ("C#", "C"),
        ("", "Paris"),
        ("", "!!!"),
        ("anything", "!!!"),
    ],
)
def test_different_texts(answer, expected) -> None:
    """A text has to be the place or the whole answer, not a part of it."""
    assert not is_expected(answer, [expected])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("42", "42"),
        ("42.0", "42"),
        ("1,234,567.50", "1234567.5"),
        ("$1,000", "1000"),
        ("0.5", "1/2"),
        (r"\boxed{\frac{3}{4}}", "0.75"),
        (r"\boxed{-\dfrac{3}{4}}", "-3/4"),
        (r"\boxed{1{,}000}", "1000"),
        (r"\boxed{50\%}", "50%"),
        ("2.5e3", "2500"),
        ("\u2212 no: \u22125", "-5"),
        ("3 apples and 4 pears are 7 fruits.", "7"),
        ("She pays 9 * 2 = $18 a day.\n#### 18", "18"),
        ("The answer is 18 dollars a day, for 2 days.", "18"),
        ("The answer is 6 * 7 = 42 (2 steps).", "42"),
        ("The answer is not hard to see: we get 42", "42"),
        ("The answer is obvious. It has to be 42.", "42"),
        ("The answer is $5.50.", "5.5"),
        ("between 3-5", "5"),
        (r"Not 7 but \boxed{42}, which took 3 lines.", "42"),
        ("5km", "5"),
        (".5", "0.50"),
    ],
)
def test_equal_numbers(answer, expected) -> None:
    """Numbers are equal as numbers, wherever the answer says its result."""
    assert is_expected(answer, [expected])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("-42", "42"),
        ("42", "-42"),
        ("0.33", "1/3"),
        ("0.5", "50%"),
        ("42 and then 43", "42"),
        ("421", "42"),
        ("4.2", "42"),
        ("x42", "42"),
        ("1/0", "1"),
        (r"\boxed{3\frac{1}{2}}", "15.5"),
        ("6 * 7", "42"),
        ("forty-two", "42"),
        ("", "0"),
        ("The answer is 41. I checked all 42.", "42"),
        (r"\boxed{41} of 42", "42"),
        ("9" * 10_000, "42"),
        ("1e999999999", "42"),
    ],
)
def test_different_numbers(answer, expected) -> None:
    """Nothing is calculated, rounded or found in the middle."""
    assert not is_expected(answer, [expected])


@pytest.mark.parametrize(
    "answer",
    [
        "B",
        "b.",
        "(B)",
        "**B**",
        "B) Paris",
        "B. Paris",
        "The answer is B.",
        "The answer is (B) Paris.",
        "The answer is **B: Paris**",
        "The correct answer is option B because of A.",
        "Answer: B",
        r"\boxed{B}",
        r"\boxed{\text{(B)}}",
        "It is not (A), so it is (B).",
        "Thinking of A dog and I.\nB",
        "Neither A nor C.\n**B**\n",
        "The answer is below.\nB",
    ],
)
def test_a_choice_that_is_made(answer) -> None:
    """One letter, in the forms in which models give it."""
    assert is_expected(answer, ["B"])
    assert is_expected(answer, ["(b)"])
    assert not is_expected(answer, ["C"])


@pytest.mark.parametrize(
    "answer",
    ["A dog did it.", "I think so", "The answer is A dog.", "The answer is a dog", "An apple", "D"],
)
def test_a_word_is_no_choice(answer) -> None:
    """Articles and pronouns are not the choices A and I."""
    assert not is_expected(answer, ["A"])
    assert not is_expected(answer, ["I"])


def test_any_of_several_answers_will_do() -> None:
    """One of the expected answers is enough, of whatever kind."""
    assert is_expected("USA", ["United States", "USA", "50"])
    assert is_expected("I count 50", ["United States", "USA", "50"])
    assert not is_expected("UK", ["United States", "USA", "50"])


def test_what_kind_an_answer_is() -> None:
    """Numbers and letters are told from texts that merely hold them."""
    assert [number_of(x) for x in ("$1,000", "12%", "**7**.", r"\frac{1}{2}")] == [1000, 12, 7, 0.5]
    assert [number_of(x) for x in ("5 km", "1,2", "x", "", "1/0", "--5")] == [None] * 6
    assert [choice_of(x) for x in ("b", "(J)", "K", "C#", "AB")] == ["B", "J", None, None, None]
    assert normalized("  A  'Big'\tDog. ") == "a 'big' dog"


def test_a_boxed_that_never_closes_does_not_count() -> None:
    """An answer that was cut inside of its box is read as words."""
    assert not is_expected(r"\boxed{Paris", ["Paris"])
    assert is_expected(r"it is 42, \boxed{4", ["4"])
