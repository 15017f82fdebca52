r"""A text as its readers take it: usual signs for their like, escapes as what they stand for.

Patterns know `4111-1111` and `bob@example.com`. People also write full-width digits, hyphens that
do not break and spaces of every kind; programs write `bob%40example.com`, `bob\u0040example.com`
and `bob&#64;example.com`. So a text is looked through as it reads, and what is found there is
taken out of what was written.

Signs are replaced one by one, so places stay what they were. Escapes are longer than what they
stand for: a reading with some of them decoded knows where each of its signs was written. It is a
second one, beside the text with its escapes: `https://bob:p%40ss@host` has its password only so.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_ESCAPE = re.compile(
    r"%(?P<url>[2-7][0-9A-Fa-f])|\\u00(?P<json>[2-7][0-9A-Fa-f])"
    r"|&#(?:[xX](?P<hex>[2-7][0-9A-Fa-f])|(?P<dec>\d{2,3}));"
)
"""Of ASCII alone: what is looked for has no other signs."""

_PRINTABLE = range(0x20, 0x7F)


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a text.

    Attributes:
        text: as it reads.
        places: where each of its signs was written, and at last where the text ends; None: each
            at its own place.

    """

    text: str
    places: Sequence[int] | None = None

    def written(self, first: int, last: int) -> tuple[int, int]:
        """Return where a part of the reading was written."""
        return (first, last) if self.places is None else (self.places[first], self.places[last])


def readings(text: str) -> Iterator[Reading]:
    """Yield a text with usual signs, and, where it has escapes, once more without them."""
    usual = text if text.isascii() else text.translate(_USUAL)
    yield Reading(usual)
    # Most texts have none, and a search of four fixed texts is quicker than one for an expression.
    if "%" in usual or "\\u00" in usual or "&#" in usual:
        decoded = _decoded(usual)
        if decoded is not None:
            yield decoded


def _decoded(text: str) -> Reading | None:
    parts: list[str] = []
    places: list[int] = []
    at = 0
    for match in _ESCAPE.finditer(text):
        kind = match.lastgroup
        code = int(match[match.lastgroup or 0], 10 if kind == "dec" else 16)
        if code in _PRINTABLE:
            parts += [text[at : match.start()], chr(code)]
            places += [*range(at, match.start()), match.start()]
            at = match.end()
    if not parts:
        return None
    return Reading("".join([*parts, text[at:]]), [*places, *range(at, len(text) + 1)])


def _usual_signs() -> dict[int, str]:
    """Return the signs that stand for ASCII ones: digits of every script, spaces, dashes.

    Of the basic plane, and mathematical digits: all of Unicode takes a quarter of a second.
    """
    found = {}
    for code in (*range(0x80, 0x10000), *range(0x1D7CE, 0x1D800)):
        sign = chr(code)
        kind = unicodedata.category(sign)
        if kind == "Nd":
            found[code] = str(unicodedata.digit(sign))
        elif kind == "Zs":
            found[code] = " "
        elif kind == "Pd" or sign in "\N{MINUS SIGN}\N{SOFT HYPHEN}":
            found[code] = "-"
        elif "\N{FULLWIDTH EXCLAMATION MARK}" <= sign <= "\N{FULLWIDTH TILDE}":
            found[code] = chr(code - 0xFEE0)
    return found


_USUAL = _usual_signs()
