"""The part of a prompt that stays the same from turn to turn.

Agents and chat pages write clocks, dates, counters, ids and the state of a repository
into a system prompt, anew each turn. What tells one conversation from another is the
rest. Nothing that is masked has to be understood: the text that is left is only ever
compared with itself.

Linear in the text, whatever it holds. Lines without a digit are hardly looked at.
"""

from __future__ import annotations

import functools
import re

from router.stable_text.calendar_lexicon import DAY_NAMES
from router.stable_text.calendar_words import mask_calendar
from router.stable_text.repository_state import without_repository_state

MAX_CHARS = 128 * 1024
"""Of a longer text the rest counts without its digits, which takes no reading."""

MAX_LINES = 4096
"""The same of a text of more lines, which are looked at one by one."""

MAX_BLOCKS = 1000
"""Blocks of one tag that are left out of a text."""

MAX_MASKED_CHARS = 32 * 1024
"""Of what may change, in steps of 64 a sentence; 10 ms. Of more, only the digits are left out."""

MAX_REMEMBERED_CHARS = 240

_HEADER = re.compile(
    r"\b[xX]-[A-Za-z0-9]{1,32}(?:-[A-Za-z0-9]{1,32}){1,6}:(?:[ \t]*[\w.-]+=[^;\s]*;?)*"
)
_DIGIT = re.compile(r"[0-9]")
_ITEM = re.compile(r"[0-9]{1,2}[.)]")
# A full stop after three small letters, before a capital: `Nov. 29` and `a.m.` end no sentence.
_SENTENCE = re.compile(r"(?<=[a-z]{3}[.!?])[ \t]+(?=[A-Z])")
_NO_DIGITS = str.maketrans("", "", "0123456789")
# Blocks that programs write and keep up to date, wherever they stand.
_STATE_TAGS = (
    "environment_details",
    "git_status",
    "git-status",
    "gitStatus",
    "open_and_recently_viewed_files",
    "current_time",
    "current_date",
    "current_datetime",
    "datetime",
    "timestamp",
)
# Blocks in a user's turn that are the program's words, not the user's.
INJECTED_TAGS = (
    *_STATE_TAGS,
    "system-reminder",
    "system_reminder",
    "environment_context",
    "user_instructions",
    "INSTRUCTIONS",
    "user_info",
    "project_layout",
    "additional_data",
    "ide_opened_file",
    "ide_selection",
    "env",
)
_LEAD_IN = re.compile(r"^# AGENTS\.md instructions for \S.*$", re.MULTILINE)


def stable_text(text: str) -> str:
    """Return a prompt, line by line, without what changes by itself."""
    return _lately(text) if len(text) <= MAX_CHARS // 4 else _stable(text)


def _stable(text: str) -> str:
    head, tail = _divided(text)
    lines = without_repository_state(_without_headers(_without(head, _STATE_TAGS)))
    day_names = [name for name in DAY_NAMES if name in head]
    kept: list[str] = []
    budget = MAX_MASKED_CHARS
    for line in map(str.strip, lines):
        if not line:
            continue
        if not _may_change(line, day_names):
            kept.append(line)
            continue
        for sentence in _SENTENCE.split(line):
            budget -= 64 + len(sentence) // 64 * 64
            left = _masked(sentence) if budget >= 0 else sentence.translate(_NO_DIGITS)
            if left:
                kept.append(left)
    return "\n".join(kept) + _without_digits(tail)


def _divided(text: str) -> tuple[str, str]:
    """Return what is read of a text, and the rest."""
    head, tail = text[:MAX_CHARS], text[MAX_CHARS:]
    lines = head.splitlines(keepends=True)
    if len(lines) <= MAX_LINES:
        return head, tail
    return "".join(lines[:MAX_LINES]), "".join([*lines[MAX_LINES:], tail])


def _without_digits(text: str) -> str:
    # As bytes: of 4 MB a tenth of the time.
    left = text.encode("utf-8", "surrogatepass").translate(None, b"0123456789")
    return left.decode("utf-8", "surrogatepass")


# A request's prompt is asked for twice, and often the next request's is the same: 4 MB at most,
# 16 of what is not Latin.
_lately = functools.lru_cache(64)(_stable)


def own_words(text: str) -> str:
    """Return a user's turn without the blocks that a program put into it; may be empty."""
    head, tail = text[:MAX_CHARS], text[MAX_CHARS:]
    if "<" not in head:
        return _trimmed(text)
    left = _without(head, INJECTED_TAGS)
    if left != head:
        # What a program says about the block, in front of it.
        left = _LEAD_IN.sub("", left)
    return _trimmed(left + tail)


def _trimmed(text: str) -> str:
    """Strip the blanks around a text, or the first and last `MAX_CHARS` of them.

    Blanks that are not Latin take so long to tell from letters that 4 MB of them are 20 ms.
    """
    text = text[:MAX_CHARS].lstrip() + text[MAX_CHARS:]
    return text[:-MAX_CHARS] + text[-MAX_CHARS:].rstrip()


def _masked(sentence: str) -> str:
    if len(sentence) <= MAX_REMEMBERED_CHARS:
        return _remembered(sentence)
    return mask_calendar(sentence)


# Most of a prompt is the same in every turn: about 2 MB at most.
_remembered = functools.lru_cache(4096)(mask_calendar)


def _may_change(line: str, day_names: list[str]) -> bool:
    """Return whether a line has a digit, past an item's number, or may name a day."""
    if any(name in line for name in day_names):
        return True
    item = _ITEM.match(line)
    return _DIGIT.search(line, item.end() if item else 0) is not None


def _without_headers(text: str) -> str:
    """Remove lines of a protocol: `x-some-name: a=1; b=2;`."""
    return _HEADER.sub("", text) if "x-" in text or "X-" in text else text


def _without(text: str, tags: tuple[str, ...]) -> str:
    """Remove these blocks; one that is not closed is no block."""
    if "</" not in text:
        return text
    for tag in tags:
        text = _without_tag(text, f"<{tag}>", f"</{tag}>")
    return text


def _without_tag(text: str, opening: str, closing: str) -> str:
    kept: list[str] = []
    at = 0
    while len(kept) < MAX_BLOCKS and (begin := text.find(opening, at)) >= 0:
        end = text.find(closing, begin)
        if end < 0:
            break
        kept.append(text[at:begin])
        at = end + len(closing)
    return "".join([*kept, text[at:]])
