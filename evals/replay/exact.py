r"""Whether an answer is the expected one, by its text alone.

What is expected decides how the answer is read:

- a number (`42`, `-1,000.50`, `$5`, `3/4`, `12%`, `2.5e3`): both are compared as
  exact fractions, so `0.5` is `1/2` and `1,000` is `1000.0`, but `0.33` is not `1/3`.
  A percent sign does not count: `50%` is `50`, not `0.5`;
- one letter A to J (`B`, `(B)`): a choice of a multiple-choice question;
- anything else: text. Texts are equal when they differ only in case, in white space,
  in compatibility forms of Unicode (a wide `A` is an `A`), in LaTeX's spacing commands
  and in punctuation around the whole: `. , ; : ! ?`, quotes, `*`, `_`, a backtick, `~`, `$`.
  Brackets count, since `(1, 2)` and `[1, 2]` are different intervals.

The answer is read in this order; the first place that holds what is looked for decides:

1. the last `\boxed{...}` whose braces close;
2. the last `answer is ...`, `answer: ...` or `answer = ...`, to the end of its sentence
   or line (of the next line, where its own ends at once);
3. the whole answer.

In the first two a number is the first one after the last `=`, if any; in the whole
answer it is the last one. In the first two a choice is the letter at the start, upper
case, alone or after `option` or `choice`, and not a word of a sentence (`A dog`). In the
whole answer it is the last `(X)`, the last line that is nothing but the letter, or the last
line that starts with `X)`, `X.` or `X:`, whichever comes last. Texts have to be equal
to the place, or to the whole answer. Nothing is calculated: `6 * 7` is not `42`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from fractions import Fraction

_AROUND = ".,;:!?…'\"“”\u2018\u2019«»*_`~$¿¡。、 \t\n"  # \u2018, \u2019: single quotes

# Lengths are bounded: an exponent of a million would be a number of a million digits.
_AMOUNT = r"(?:\d{1,3}(?:,\d{3}){1,20}(?!\d)|\d{1,60}(?!\d))(?:\.\d{1,60})?|\.\d{1,60}"
_SCALED = rf"(?:{_AMOUNT})(?:[eE][-+]?\d{{1,3}}(?!\d))?"
_NUMBER = re.compile(rf"(?<![\w.])(?P<sign>[-+]?)\$?(?P<over>{_SCALED})(?:/(?P<under>\d{{1,60}}))?")
_CHOICE = re.compile(r"\(?([A-J])\)?", re.IGNORECASE)
_CHOICE_AT_START = re.compile(
    # A and I are words too: before another word they are no choice without brackets.
    r"[^\w(]*(?:(?:option|choice)\s+[^\w(]*)?(?:\(([A-J])\)|([B-HJ])\b(?!['\u2019])|([AI])(?=[^\w\s'\u2019]|\s*$))",
)
_CHOICE_MARK = re.compile(
    r"\(([A-J])\)|^[^\w\n(]*([A-J])(?:[).:](?=\s|\*|$)|[^\w\n#+&/=-]*$)", re.MULTILINE
)
_STATED = re.compile(r"\banswer[*_\s]*(?:\bis\b|:|=)[*_:\s]*(?=(.*))", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?](?=[\s*_\"']|$)")
_LATEX = (
    # Not behind a digit: 3\frac{1}{2} is no 31/2.
    (re.compile(r"(?<!\d)\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r"\1/\2"),
    (re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\(?:left|right)\b|\\[,!;:]|\\\(|\\\)|\\\[|\\\]"), ""),
    (re.compile(r"\\([$%])"), r"\1"),
    (re.compile(r"\{,\}"), ","),
)


def is_expected(answer: str, expected: Sequence[str]) -> bool:
    """Whether `answer` is one of the expected answers; see above for the rules."""
    return any(_is(answer, one) for one in expected)


def normalized(text: str) -> str:
    """The text as it is compared: folded, one space between words, nothing around."""
    while (further := _normalized_once(text)) != text:
        # What was taken away can have left a command: `\\)[` becomes `\[`.
        text = further
    return text


def _normalized_once(text: str) -> str:
    folded = unicodedata.normalize("NFKC", _plain(text))
    for _ in range(2):  # folding and composing undo a little of each other
        folded = unicodedata.normalize("NFKC", folded.casefold())
    spaced = " ".join(folded.split())
    # An answer of punctuation alone stays: it is not the same as no answer.
    return spaced.strip(_AROUND) or spaced


def number_of(text: str) -> Fraction | None:
    """The number that the whole text is, or None."""
    bare = _plain(text).rstrip(_AROUND + "%").lstrip(_AROUND.replace(".", ""))
    found = _NUMBER.fullmatch(bare)
    return None if found is None else _value(found)


def choice_of(text: str) -> str | None:
    """The letter A to J that the whole text is, or None."""
    found = _CHOICE.fullmatch(text.strip(_AROUND))
    return None if found is None else found.group(1).upper()


def _is(answer: str, expected: str) -> bool:
    number, letter = number_of(expected), choice_of(expected)
    if number is not None:
        return _given_number(answer) == number
    if letter is not None:
        return _given_choice(answer) == letter
    wanted = normalized(expected)
    place = next(_stated_places(answer), answer)
    return wanted in (normalized(place), normalized(answer))


def _given_number(answer: str) -> Fraction | None:
    for place in _stated_places(answer):
        after = _plain(place).rpartition("=")[2]
        found = _NUMBER.search(after)
        if found is not None:
            return _value(found)
    numbers = list(_NUMBER.finditer(_plain(answer)))
    return _value(numbers[-1]) if numbers else None


def _given_choice(answer: str) -> str | None:
    for place in _stated_places(answer):
        plain = _plain(place)
        found = _CHOICE_AT_START.match(plain)
        for letter in (choice_of(plain), *(found.groups() if found else ())):
            if letter:
                return str(letter)
    marks = _CHOICE_MARK.findall(_plain(answer))
    return next(filter(None, marks[-1])) if marks else choice_of(answer)


def _stated_places(answer: str) -> Iterator[str]:
    """Where the answer says what its result is: boxed, then in words."""
    boxed = _boxed(answer)
    if boxed is not None:
        yield boxed
    stated = None
    for stated in _STATED.finditer(answer):  # noqa: B007  (the last one counts)
        pass
    if stated is not None:
        yield _SENTENCE_END.split(stated.group(1), maxsplit=1)[0]


def _boxed(answer: str) -> str | None:
    r"""What the last `\boxed{...}` holds; None when there is none or it never closes."""
    start = answer.rfind("\\boxed{")
    if start < 0:
        return None
    begun = start + len("\\boxed{")
    depth = 1
    for at, sign in enumerate(answer[begun:], begun):
        depth += (sign == "{") - (sign == "}")
        if not depth:
            return answer[begun:at]
    return None


def _plain(text: str) -> str:
    """Without the LaTeX that changes how a text looks and not what it says."""
    text = text.replace("\N{MINUS SIGN}", "-")
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    return text


def _value(found: re.Match[str]) -> Fraction | None:
    under = Fraction(found["under"] or 1)
    if not under:
        return None
    value = Fraction(found["over"].replace(",", "")) / under
    return -value if found["sign"] == "-" else value
