"""Surface features of a conversation: what can be seen without understanding.

Theory of operation. Reading a prompt must cost the same at any length, so a
long text is first cut to its head and its tail, where instructions and
questions stand; only its length is taken from the whole, and `len` is
constant time. The cut is then counted in three ways, each one pass in C or
one dictionary read a word:

- bytes of a class, by deleting the class from an ASCII copy;
- fixed marks, by `str.count`;
- words, by looking each up in `lexicon.WORD_TO_CATEGORY`.

Two regular expressions find shapes that need a line start. Each begins at a
literal newline and repeats nothing without a bound, so neither can backtrack
beyond a dozen characters.

Counts enter as log(1 + n) and shares as fractions, so that no single prompt
reaches far outside the range the model was fitted on.
"""

import re
from collections import Counter
from math import log1p

from classifier.conversation import Conversation
from classifier.lexicon import CATEGORY_NAMES, WORD_TO_CATEGORY

HEAD_CHARS = 1000
TAIL_CHARS = 1000

_DIGITS = b"0123456789"
_UPPER = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_OPERATORS = b"+-*/=<>^%|~"
_BRACKETS = b"()[]{}"
_QUOTES = b"\"'`"
_CODE_BYTES = b"{};_`#\\"

_CODE_MARKS = (
    "```",
    "def ",
    "import ",
    "return ",
    "==",
    "->",
    "=>",
    "</",
    "();",
    "):\n",
    "SELECT ",
)
_MATH_MARKS = ("\\", "$", "^", "{", "_")
_PART_MARKS = ("; ", " and ", ", then", "Then ", "also ", "(a)", "(i)", "first", "step", "finally")

_CHOICE = re.compile(r"\n\(?[A-J][.):] ?\S")
_LIST_ITEM = re.compile(r"\n[ \t]{0,8}(?:\d{1,2}[.)]|[-*\u2022])[ \t]")
# Lower-cases ASCII and turns what cannot stand inside a word into a space.
_INSIDE_WORD = b"abcdefghijklmnopqrstuvwxyz0123456789'+#"
_TO_WORDS = bytes(
    byte if (byte := bytes([code]).lower()[0]) in _INSIDE_WORD else 0x20 for code in range(256)
)
_LONG_WORD_CHARS = 9

_STRUCTURE_NAMES = (
    "log_chars",
    "log_words",
    "log_lines",
    "log_sentences",
    "words_per_sentence",
    "mean_word_chars",
    "long_word_share",
    "distinct_word_share",
    "number_word_share",
    "ends_with_question",
    "log_question_marks",
)
_BYTE_NAMES = (
    "digit_share",
    "upper_share",
    "operator_share",
    "bracket_share",
    "quote_share",
    "code_byte_share",
    "non_ascii_share",
)
_MARK_NAMES = (
    "log_digits",
    "log_code_marks",
    "log_math_marks",
    "log_part_marks",
    "log_commas",
    "log_choices",
    "log_list_items",
    "has_blank",
)
_SETTING_NAMES = ("log_system_chars", "log_user_turns", "log_tools")
_WORD_NAMES = tuple(f"{form}_{name}" for name in CATEGORY_NAMES for form in ("share", "log"))

FEATURE_NAMES: tuple[str, ...] = (
    *_STRUCTURE_NAMES,
    *_BYTE_NAMES,
    *_MARK_NAMES,
    *_WORD_NAMES,
    *_SETTING_NAMES,
)


def cut(text: str) -> str:
    """The head and the tail of `text`: all that the features read of it."""
    if len(text) <= HEAD_CHARS + TAIL_CHARS:
        return text
    return f"{text[:HEAD_CHARS]}\n{text[-TAIL_CHARS:]}"


def extract(conversation: Conversation) -> list[float]:
    """The features of one conversation, in the order of `FEATURE_NAMES`."""
    text = conversation.last_user
    read = cut(text)
    ascii_bytes = read.encode("ascii", "ignore")
    words = ascii_bytes.translate(_TO_WORDS).split()
    return [
        *_structure(text, read, words),
        *_byte_shares(read, ascii_bytes),
        *_marks(read, ascii_bytes),
        *_word_categories(words),
        log1p(len(conversation.system)),
        log1p(max(conversation.user_turns, 0)),
        log1p(max(conversation.tools, 0)),
    ]


def _structure(text: str, read: str, words: list[bytes]) -> list[float]:
    count = len(words) or 1
    sentences = 1 + read.count(". ") + read.count(".\n") + read.count("? ") + read.count("! ")
    lengths = list(map(len, words))
    return [
        log1p(len(text)),
        log1p(len(words)),
        log1p(read.count("\n")),
        log1p(sentences),
        log1p(len(words) / sentences),
        min(sum(lengths) / count, 20.0),
        sum([length >= _LONG_WORD_CHARS for length in lengths]) / count,
        len(set(words)) / count,
        sum(map(bytes.isdigit, words)) / count,
        float(read.rstrip().endswith("?")),
        log1p(read.count("?")),
    ]


def _byte_shares(read: str, ascii_bytes: bytes) -> list[float]:
    size = len(read) or 1
    shares = [
        _count_bytes(ascii_bytes, members) / size
        for members in (_DIGITS, _UPPER, _OPERATORS, _BRACKETS, _QUOTES, _CODE_BYTES)
    ]
    return [*shares, (len(read) - len(ascii_bytes)) / size]


def _marks(read: str, ascii_bytes: bytes) -> list[float]:
    return [
        log1p(_count_bytes(ascii_bytes, _DIGITS)),
        log1p(_count_marks(read, _CODE_MARKS)),
        log1p(_count_marks(read, _MATH_MARKS)),
        log1p(_count_marks(read, _PART_MARKS)),
        log1p(read.count(",")),
        log1p(len(_CHOICE.findall(read))),
        log1p(len(_LIST_ITEM.findall(read))),
        float("__" in read),
    ]


def _word_categories(words: list[bytes]) -> list[float]:
    counts = Counter(map(WORD_TO_CATEGORY.get, words))
    total = len(words) or 1
    return [
        value
        for category in range(len(CATEGORY_NAMES))
        for value in (counts[category] / total, log1p(counts[category]))
    ]


def _count_bytes(ascii_bytes: bytes, members: bytes) -> int:
    return len(ascii_bytes) - len(ascii_bytes.translate(None, members))


def _count_marks(read: str, marks: tuple[str, ...]) -> int:
    return sum([read.count(mark) for mark in marks])
