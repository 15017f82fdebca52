"""Surface features of a text: what can be seen without understanding it.

Theory of operation. Only the head and the tail are read (`classifier.features.reading`);
the length is taken from the whole, which is constant time. The rest is counted
in two ways, each a pass in C: bytes of a class, from one histogram of the bytes,
and fixed signs, by `str.count`. Two regular expressions find shapes
that need a line start; each begins at a literal newline and repeats nothing
without a bound, so neither can backtrack beyond a dozen characters.

Counts enter as log(1 + n) and shares as fractions, so that no single prompt
reaches far outside the range the model was fitted on. No feature is a word of some
language: they are what is left to judge by when the words are not English.
"""

import re
from math import log1p

# Bytes that are counted together; the last four in the text itself, for in ASCII other
# signs have become them.
CLASSES = (
    b"0123456789",
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    b"+-*/=<>^%|~",
    b"()[]{}",
    b"\"'`",
    b"{};_`#\\",
    b"?",
    b"\n",
    b"\\$^{_",
    b",",
)
_IN_NO_CLASS = bytes(set(range(256)) - set(b"".join(CLASSES)))

_CODE_WORDS = ("def ", "import ", "return ")
_CODE_OPERATORS = ("==", "->", "=>", "</")
_CODE_BRACKETS = ("();", "):\n")

_CHOICE = re.compile(r"\n\(?[A-J][.):] ?\S")
_LIST_ITEM = re.compile(r"\n[ \t]{0,8}(?:\d{1,2}[.)]|[-*\u2022])[ \t]")
_LONGEST_SHORT_WORD = 8

SURFACE_NAMES: tuple[str, ...] = (
    "log_bytes",
    "log_words",
    "log_lines",
    "log_sentences",
    "words_per_sentence",
    "mean_word_bytes",
    "long_word_share",
    "distinct_word_share",
    "number_word_share",
    "ends_with_question",
    "log_question_marks",
    "digit_share",
    "upper_share",
    "operator_share",
    "bracket_share",
    "quote_share",
    "code_byte_share",
    "non_ascii_share",
    "log_digits",
    "log_code_marks",
    "log_math_marks",
    "log_commas",
    "log_choices",
    "log_list_items",
    "has_blank",
)
LOG_WORDS = SURFACE_NAMES.index("log_words")
NON_ASCII_SHARE = SURFACE_NAMES.index("non_ascii_share")


def surface_of(text: str, read: str, ascii_bytes: bytes, words: list[bytes]) -> list[float]:
    """The surface features of one text, in the order of `SURFACE_NAMES`.

    Args:
        text: the whole text; only its length is used.
        read: its head and tail.
        ascii_bytes: `read` in ASCII.
        words: the words of `ascii_bytes`.

    """
    size = len(read) or 1
    is_ascii = read.isascii()
    utf8 = ascii_bytes if is_ascii else read.encode("utf-8", "surrogatepass")
    counts = _count_classes(ascii_bytes)
    digits, upper, operators, brackets, quotes, code = counts[:6]
    questions, lines, mathematics, commas = (counts if is_ascii else _count_classes(utf8))[6:]
    code_signs = _count_signs(read, _CODE_WORDS)
    # A sign is looked for only where a byte of it was seen: most texts have none.
    if operators:
        code_signs += _count_signs(read, _CODE_OPERATORS)
    if brackets:
        code_signs += _count_signs(read, _CODE_BRACKETS)
    if quotes:
        code_signs += read.count("```")
    # UTF-8 bytes, so that a script without spaces weighs what its words would.
    has_other_scripts = len(ascii_bytes) != len(read)
    utf8_length = len(text) * len(utf8) / size if has_other_scripts else len(text)
    sentences = 1 + read.count(". ") + read.count(".\n") + read.count("? ") + read.count("! ")
    has_lines = lines > 0.0
    return [
        log1p(utf8_length),
        log1p(len(words)),
        log1p(lines),
        log1p(sentences),
        log1p(len(words) / sentences),
        *_words(words, digits),
        float(read.rstrip().endswith("?")),
        log1p(questions),
        digits / size,
        upper / size,
        operators / size,
        brackets / size,
        quotes / size,
        code / size,
        1.0 - min(len(ascii_bytes), size) / size if read else 0.0,
        log1p(digits),
        log1p(code_signs),
        log1p(mathematics),
        log1p(commas),
        log1p(len(_CHOICE.findall(read))) if has_lines else 0.0,
        log1p(len(_LIST_ITEM.findall(read))) if has_lines else 0.0,
        float("__" in read),
    ]


def _words(words: list[bytes], digits: float) -> list[float]:
    count = len(words) or 1
    lengths = list(map(len, words))
    return [
        sum(lengths) / count,
        sum(map(_LONGEST_SHORT_WORD.__lt__, lengths)) / count,
        len(set(words)) / count,
        sum(map(bytes.isdigit, words)) / count if digits else 0.0,
    ]


def _count_classes(read: bytes) -> list[float]:
    # Most of a text is in no class.
    left = read.translate(None, _IN_NO_CLASS)
    size = len(left)
    return [float(size - len(left.translate(None, members))) for members in CLASSES]


def _count_signs(read: str, names: tuple[str, ...]) -> int:
    return sum([read.count(name) for name in names])
