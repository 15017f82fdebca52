"""Dates and times as East Asian and Spanish locales write them, in international form.

There they are run together with the words around them, which are read word by word.
"""

from __future__ import annotations

import re

_DATE = re.compile(
    r"((?:19|20)\d\d) ?[年년] ?(\d{1,2}) ?[月월] ?(\d{1,2}) ?[日일]"
    # Its weekday: 星期日, (日), 日曜日, 일요일.
    r"(?: ?[(\uff08]?(?:星期|周|週)?[一二三四五六日天月火水木金土월화수목금토일]?"
    r"(?:曜日?|요일)?[)\uff09]?)?"
)
_HALVES = "上午|下午|午前|午後|오전|오후"
_TIME = re.compile(
    rf"(?:{_HALVES})? ?(\d{{1,2}}) ?[時时点點시](?: ?\d{{1,2}} ?[分분])?(?: ?\d{{1,2}} ?[秒초])?"
)
_HALF_BEFORE = re.compile(rf"(?:{_HALVES}) ?(?=\d)")
# `10:04 p. m.`
_HALF = re.compile(r"(?<=\d)[ \u00a0\u202f]([ap])\.[ \u00a0\u202f]?m\.?(?!\w)", re.IGNORECASE)


def as_international(sentence: str) -> str:
    """Write such a date as `2026-11-29`, such a time as `10:04`, `p. m.` as `pm`."""
    if "." in sentence:
        sentence = _HALF.sub(r" \1m", sentence)
    if sentence.isascii():
        return sentence
    dated = _DATE.sub(r" \1-\2-\3 ", sentence)
    return _HALF_BEFORE.sub(" ", _TIME.sub(r" \1:00 ", dated))
