"""Clocks, dates, counters and ids in a sentence, as programs write them.

A sentence is read word by word. Some words are moments or ids by themselves; a number is
one by its neighbours (`29 November`, `5 files open`), and a weekday or a month is one only
beside such a number: alone it is a word like any other. A sentence of which nothing is
left but its label (`Current time:`) is dropped as a whole.
"""

from __future__ import annotations

import re

from router.stable_text.calendar_lexicon import (
    AFTER_A_TIME,
    DATED,
    HALVES,
    LABEL,
    MONTHS,
    NAMED_ANEW,
    NAMES_A_DAY,
    NUMBERED,
    OWNERS,
    PARTS_OF_A_DAY,
    STATES,
    UNITS,
    WEEKDAYS,
)
from router.stable_text.local_forms import as_international

# Runs of letters and digits with single signs between them: 10:04, 2026-11-29, Europe/Berlin.
_WORD = re.compile(r"[^\W_]+(?:['\u2019.,:/+_@#-]{1,2}[^\W_]+)*")
_DIGIT = re.compile(r"[0-9]")
_SIGNS = re.compile(r"[\W_]+")

_YEAR = r"(?:19|20)\d\d"
_TIME = r"\d{1,2}:\d\d(?::\d\d)?(?:[.,]\d{1,9})?(?:z|[+-]\d\d:?\d\d)?"
_DATE = (
    rf"(?:{_YEAR}[-/.]\d{{1,2}}[-/.]\d{{1,2}}|\d{{1,2}}[-/.]\d{{1,2}}[-/.]{_YEAR}"
    rf"|\d{{1,2}}/\d{{1,2}}/\d\d|\d{{1,2}}-[a-z]{{3}}-{_YEAR}|{_YEAR}-w\d\d(?:-\d)?"
    rf"|{_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))"
)
_MOMENT = (
    rf"{_DATE}(?:[t_,:-](?:{_TIME}|\d\d-\d\d(?:-\d\d)?))?|{_TIME}(?:[ap]m)?|\d{{1,2}}[ap]m"
    rf"|{_YEAR}\d{{4}}t?\d{{4,6}}z?|\d{{1,2}}h\d\d"
)
# Of the years 2020 to 2033: other numbers of so many digits are an account's or a telephone's.
_EPOCH = r"1[6-9]\d{8}(?:\.\d+)?|1[6-9]\d{11}|1[6-9]\d{14}|1[6-9]\d{17}"
_OFFSET = r"(?:utc|gmt)[+-]\d{1,2}(?::?\d\d)?"
_BY_ITSELF = re.compile(f"{_MOMENT}|{_EPOCH}|{_OFFSET}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHORT_DATE = re.compile(r"\d{1,2}\.\d{1,2}\.\d\d")
_MIXED = re.compile(r"(?=.*[a-z])(?=.*\d).{4,}")
_HEX = re.compile(r"(?=[a-f]*[0-9])(?=[0-9]*[a-f])[0-9a-f]{7,}")
_REGION = re.compile(
    r"(?:europe|america|asia|africa|australia|pacific|atlantic|indian|etc|antarctica)/\D+"
)
_DAY_NUMBER = re.compile(r"(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th|er|º)?")  # codespell:ignore
_ORDINAL = re.compile(r"\d{1,2}(?:st|nd|rd|th)")  # codespell:ignore
_YEAR_NUMBER = re.compile(_YEAR)
_OFFSET_NUMBER = re.compile(r"\d{4}")
_HOUR = re.compile(r"\d{1,2}(?:[.:]\d\d)?")
_NUMBER = re.compile(r"\d[\d.,]*(?:kb|mb|gb|ms|min|[kmshd])?(?:/\d[\d.,]*[km]?)?")
# After a date: its weekday as a number, or a zone's long name.
_AFTER = re.compile(r"\((?:[0-6]|(?:[A-Z][a-z]{1,20} ){1,5}Time)\)")

# What a number needs near it to be more than a number.
_TELLING = (
    MONTHS | WEEKDAYS | HALVES | STATES | NUMBERED | NAMED_ANEW | {"year", "date", "datum"} | DATED
)
_DAY_NAMES = WEEKDAYS | MONTHS | PARTS_OF_A_DAY
_COMPACT_DIGITS = 8
_HASH_CHARS = 7
_RANDOM_CHARS = 16
_RANDOM_DIGITS = 3


def mask_calendar(sentence: str) -> str:
    """Return a sentence without its clocks, dates, counters and ids; empty if nothing is left."""
    given, sentence = sentence, as_international(sentence)
    words = _words(sentence)
    if _only_names_a_day(words):
        return ""
    gone = _masked(words)
    if not gone:
        return given
    if _AFTER.search(sentence):
        sentence = _AFTER.sub("", sentence)
        words = _words(sentence)
        gone = _masked(words)
    if all(at in gone or _is_label(word) for at, word in enumerate(words)):
        return ""
    kept, end = [], 0
    for at, match in enumerate(_WORD.finditer(sentence)):
        is_gone = at in gone
        # Its sign goes with an offset.
        piece = (
            sentence[end : match.start()].rstrip("+-") if is_gone else sentence[end : match.end()]
        )
        # `1 file`, `2 files`: the number is gone, and its plural with it.
        is_counted = at - 1 in gone and _NUMBER.fullmatch(words[at - 1])
        kept.append(piece.rstrip("s") if is_counted else piece)
        # An abbreviation's full stop goes with it.
        end = match.end() + (is_gone and sentence.startswith(".", match.end()))
    return " ".join("".join([*kept, sentence[end:]]).split())


def _words(sentence: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(sentence)]


def _masked(words: list[str]) -> set[int]:
    """Return the places of the words that change by themselves."""
    numbers = [at for at, word in enumerate(words) if not word.isalpha() and _DIGIT.search(word)]
    gone = {at for at in numbers if _is_by_itself(words[at]) or _is_made_anew(words, at)}
    for at in numbers:
        if at not in gone and not _TELLING.isdisjoint(_around(words, at)):
            gone |= _with_neighbours(words, at)
    if gone:
        _spread(words, gone)
    if not WEEKDAYS.isdisjoint(words):
        gone |= _named_days(words)
    if "ago" in words:
        gone |= _how_long_ago(words)
    return gone


def _how_long_ago(words: list[str]) -> set[int]:
    """Return the places of the number and unit in `2 minutes ago`, `an hour ago`."""
    units = (at for at, word in enumerate(words[:-1]) if word in UNITS and words[at + 1] == "ago")
    return {part for at in units if at for part in (at - 1, at)}


def _only_names_a_day(words: list[str]) -> bool:
    """`Day of the week: Sunday`, `The current month is May`, `It is 2026`."""
    names = {
        at
        for at, word in enumerate(words)
        if word in _DAY_NAMES or _YEAR_NUMBER.fullmatch(word) is not None
    }
    if not names or not all(at in names or _is_label(word) for at, word in enumerate(words)):
        return False
    has_year = any(words[at].isdigit() for at in names)
    return has_year or not NAMES_A_DAY.isdisjoint(words)


def _named_days(words: list[str]) -> set[int]:
    """Return the places of weekdays that are said to be today's."""
    days = (at for at, word in enumerate(words) if word in WEEKDAYS)
    return {at for at in days if not DATED.isdisjoint(words[max(0, at - 3) : at])}


def _is_by_itself(word: str) -> bool:
    """Return whether a word is a moment, or an offset from UTC."""
    if word.isdigit() and len(word) < _COMPACT_DIGITS:
        return False
    return _BY_ITSELF.fullmatch(word) is not None


def _is_made_anew(words: list[str], at: int) -> bool:
    """Return whether a word is an id, but not a person's, which stays the same."""
    word = words[at]
    # So is a path, whatever is in it.
    if "/" in word:
        return False
    if not _UUID.fullmatch(word) and not any(map(_is_id, _SIGNS.split(word))):
        return False
    before = set(_around(words[max(0, at - 2) : at], 0))
    return OWNERS.isdisjoint(before) or not NAMED_ANEW.isdisjoint(before)


def _is_id(part: str) -> bool:
    """Return whether a word is hexadecimal, or long with letters and digits in a mix."""
    if len(part) < _HASH_CHARS or part.isalpha() or part.isdigit():
        return False
    if _HEX.fullmatch(part):
        return True
    return len(part) >= _RANDOM_CHARS and len(_DIGIT.findall(part)) >= _RANDOM_DIGITS


def _around(words: list[str], at: int) -> list[str]:
    """Return the three words before and after, and the parts of such as `token_budget`."""
    near = words[max(0, at - 3) : at + 4]
    if all(map(str.isalnum, near)):
        return near
    return near + [part for word in near if not word.isalnum() for part in _SIGNS.split(word)]


def _with_neighbours(words: list[str], at: int) -> set[int]:
    """Return what makes a number a date, a time or a counter; empty: it is a number."""
    word, before = words[at], words[max(0, at - 3) : at]
    if at + 1 < len(words) and words[at + 1] in HALVES and _HOUR.fullmatch(word):
        return {at, at + 1}
    if _DAY_NUMBER.fullmatch(word) or _YEAR_NUMBER.fullmatch(word):
        names = MONTHS | WEEKDAYS if _ORDINAL.fullmatch(word) else MONTHS
        around = range(max(0, at - 2), min(len(words), at + 3))
        months = {other for other in around if words[other] in names}
        if months:
            return months | {at}
        if "year" in before and _YEAR_NUMBER.fullmatch(word):
            return {at}
    is_one = _is_labelled(words, at) or (_NUMBER.fullmatch(word) and _is_counter(words, at))
    return {at} if is_one else set()


def _is_labelled(words: list[str], at: int) -> bool:
    """Return whether what stands before a word says what it is: `Date: 29.11.26`."""
    near = _around(words[max(0, at - 2) : at], 0)
    if _SHORT_DATE.fullmatch(words[at]):
        return not (DATED | {"date", "datum"}).isdisjoint(near)
    return _MIXED.fullmatch(words[at]) is not None and not NAMED_ANEW.isdisjoint(near)


def _is_counter(words: list[str], at: int) -> bool:
    if words[max(0, at - 1)] == "day" and "year" in words[at + 1 : at + 4]:
        return True
    near = _around(words[max(0, at - 2) : at], 0)
    return not NUMBERED.isdisjoint(near) or not STATES.isdisjoint(_around(words, at))


def _spread(words: list[str], gone: set[int]) -> None:
    """Add weekdays beside a date, and what follows a time: halves, zones, years."""
    for at, word in enumerate(words):
        if at in gone:
            continue
        follows = at - 1 in gone
        if word in WEEKDAYS:
            is_part = follows or at + 1 in gone or (words[at - 1] == "on" and at - 2 in gone)
        else:
            is_part = follows and (
                word in AFTER_A_TIME
                or _YEAR_NUMBER.fullmatch(word) is not None
                or _REGION.fullmatch(word) is not None
                or _OFFSET_NUMBER.fullmatch(word) is not None
            )
        if is_part:
            gone.add(at)


def _is_label(word: str) -> bool:
    return word in LABEL or (not word.isalpha() and all(x in LABEL for x in _SIGNS.split(word)))
