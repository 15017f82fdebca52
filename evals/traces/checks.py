"""Whether what looks like a number of a card, an account or a phone is one, and where it ends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address
from itertools import pairwise
from typing import Any

Span = tuple[int, int]

_DIGITS = re.compile(r"\d++")
_DATE = re.compile(r"\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}|\d{4}[-/.]\d{1,2}[-/.]\d{1,2}")

LEAD_CHARS = 32
"""Of what stands before a number and may say whose it is: `WhatsApp number is: \\"`."""

_NAMED_PHONE = re.compile(
    r"(?i:(?<![^\W_])(?:tele(?:phone|fon)|tel|phone|fon|mobile?|handy|cell(?:phone)?|fax|whatsapp)"
    r"(?: ?(?:number|no|nummer|nr))?(?: is| ist)?)"
    r"[.:#]?\\?[\"']?:? {0,2}\\?[\"']?(?P<number>\(?\d(?:[ ()./-]{0,3}\d){4,14})$"
)

_PHONE_TEXT = re.compile(r"\+?+(?:[ ()./-]{0,3}+\d){5,20}+ *+")

_IPV6 = re.compile(r"(?:^|(?<![\w.:]))([0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]+)$")

_CARD_DIGITS = {
    prefix: frozenset(digits)
    for prefixes, digits in {
        "4": (13, 16, 19),
        "51 52 53 54 55 22 23 24 25 26 27": (16,),
        "34 37": (15,),
        "30 36 38 39": (14,),
        "35 60 62 64 65": range(16, 20),
        "50 56 57 58 61 63 66 67 68 69": range(13, 20),
    }.items()
    for prefix in prefixes.split()
}
"""Lengths of the numbers of payment networks, by how they begin (ISO/IEC 7812's issuers)."""

_MOST_DIGITS = 19

_IBAN_CHARS = {
    countries[at : at + 2]: length
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DKFIFOGLNLSD",
        19: "MKSI",
        20: "ATBAEEKZLTLUXK",
        21: "CHHRLILV",
        22: "BGBHCRDEGBGEIEMERSVA",
        23: "AEGIILIQOMSOTL",
        24: "ADCZESMDPKROSASESKTNVG",
        25: "LYPTST",
        26: "ISTR",
        27: "BIDJFRGRITMCMRSM",
        28: "ALAZBYCYDOGTHULBNIPLSV",
        29: "BREGPSQAUA",
        30: "JOKWMUYE",
        31: "MTSC",
        32: "LC",
        33: "RU",
    }.items()
    for at in range(0, len(countries), 2)
}
"""Length by country: the registry of ISO 13616."""


def cards(found: str) -> Iterator[Span]:
    """Cards in a run of digits with separators: whole groups of it.

    A card may stand between other numbers, so each group is tried as its beginning; a card of n
    digits is checked in n steps, and there are seven n. Dots are separators of a card of four
    digits at a time, and no other: decimals have one, too.
    """
    groups = [match.span() for match in _DIGITS.finditer(found)]
    at = 0
    while at < len(groups):
        end = _card_end(found, groups, at)
        if end is None:
            at += 1
            continue
        yield groups[at][0], groups[end][1]
        at = end + 1


def _card_end(found: str, groups: list[Span], at: int) -> int | None:
    """The last group of a card that begins with a group; None: none does."""
    digits, lengths = "", None
    for end in range(at, len(groups)):
        first, last = groups[end]
        if len(digits) + last - first > _MOST_DIGITS or not _may_go_on(found, groups, at, end):
            return None
        digits += found[first:last]
        if lengths is None and len(digits) > 1:
            lengths = _CARD_DIGITS.get(digits[0]) or _CARD_DIGITS.get(digits[:2])
            if lengths is None:
                return None
        if lengths and len(digits) in lengths and is_luhn(digits):
            return end
    return None


def _may_go_on(found: str, groups: list[Span], at: int, end: int) -> bool:
    """Whether a group may be a card's that began with another: where dots are, in fours alone."""
    first, last = groups[end]
    if end == at:
        return found[first - 1 : first] != "." or found[max(0, first - 2) : first] == ". "
    between = found[groups[end - 1][1] : first]
    is_dotted = found[groups[at][1] : groups[at + 1][0]] == "."
    if not is_dotted:
        return between != "."
    return between == "." and groups[at][1] - groups[at][0] == 4 and last - first <= 4


def is_luhn(digits: str) -> bool:
    """Whether the check digit is right (ISO/IEC 7812-1, annex B)."""
    values = [int(digit) for digit in reversed(digits)]
    doubled = [value * 2 - 9 if value > 4 else value * 2 for value in values[1::2]]
    return (sum(values[::2]) + sum(doubled)) % 10 == 0 and len(set(values)) > 1


def iban(found: str) -> Iterator[Span]:
    """An account at the beginning (ISO 13616): its country's length, and 1 modulo 97."""
    length = _IBAN_CHARS.get(found[:2])
    if length is None:
        return
    places = [at for at, sign in enumerate(found) if sign not in " -"]
    if len(places) < length:
        return
    text = "".join(found[at] for at in places[:length])
    turned = text[4:] + text[:4]
    if int("".join(str(int(sign, 36)) for sign in turned)) % 97 == 1:
        yield 0, places[length - 1] + 1


def phone(found: str) -> Iterator[Span]:
    """A number of a phone: no date, and not one group of the national kind that may be an id."""
    if _DATE.match(found) or (found.isdigit() and not found.startswith("00")):
        return
    yield 0, len(found)


def named_phone(found: str) -> Iterator[Span]:
    """A number behind `LEAD_CHARS` characters, or fewer, that say it is a phone's; no date."""
    match = _NAMED_PHONE.search(found)
    if match is not None and not _DATE.match(match["number"]):
        yield match.span("number")


def is_phone_text(value: Any) -> bool:
    """Whether a member that is called a phone has a number: digits, and what stands between."""
    if isinstance(value, str):
        return _PHONE_TEXT.fullmatch(value) is not None
    return isinstance(value, int) and 10**4 <= value < 10**16


def domain(found: str) -> Iterator[Span]:
    """An e-mail address, and no version: `react@18.2.0` ends with a number."""
    *_, name, top = re.split(r"[@.]", found)
    if top[:1].isalpha() and name:
        yield 0, len(found)


def ip(found: str) -> Iterator[Span]:
    """An address of some machine: not this machine's own, no time, no name with colons."""
    try:
        address = ip_address(found)
    except ValueError:
        return
    is_nobodys = address.is_loopback or address.is_unspecified or found == "255.255.255.255"
    if not is_nobodys and any(sign.isdigit() for sign in found):
        yield 0, len(found)


def ipv6(found: str) -> Iterator[Span]:
    """The same of version 6, in a text that ends with it and has five characters before a colon."""
    match = _IPV6.search(found)
    if match is not None:
        for first, last in ip(match[1]):
            yield match.start(1) + first, match.start(1) + last


_NO_SECRETS = frozenset(
    (
        *("string", "text", "str", "password", "passwd", "secret", "token", "hidden", "masked"),
        *("required", "optional", "none", "null", "true", "false", "undefined", "invalid"),
    )
)
"""What stands in the place of a secret where one is only spoken of."""


LEAST_MIXED = 8
"""Characters of a secret that only its form tells."""


def given_secret(found: str) -> Iterator[Span]:
    """A secret, even a word, in a place that only has one; no variable and no placeholder."""
    is_blank = found[0] in "$<{[*%" or not any(map(str.isalnum, found))
    if not is_blank and found.lower() not in _NO_SECRETS:
        yield 0, len(found)


def named_secret(found: str) -> Iterator[Span]:
    """What stands behind a secret's name, and one character before it: quoted, or mixed."""
    opened, value = found[0], found[1:].rstrip("\"'").rstrip("\\")
    is_quoted = opened in "\"'" and found.endswith(opened)
    end = len(value)
    for first, last in given_secret(value) if is_quoted else secret(value):
        if is_quoted or end >= LEAST_MIXED:
            yield first + 1, last + 1


def secret(found: str) -> Iterator[Span]:
    """Something that nobody reads: letters and digits mixed, as words and numbers are not."""
    kinds = [sign.isdigit() for sign in found if sign.isalnum()]
    if sum(a != b for a, b in pairwise(kinds)) >= 2:
        yield 0, len(found)
