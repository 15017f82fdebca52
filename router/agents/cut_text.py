"""A long text cut in its middle: its head, a marker that says how much is gone, its tail.

The cut is at the border of a line where one is near. Otherwise it is between two
grapheme clusters: no character loses its accents, no emoji falls apart. The rules are the
common ones of Unicode's annex 29, without its tables.
"""

from __future__ import annotations

from unicodedata import category

SHORT_MARK = "…"
"""Where there is no room for the whole marker."""

_LINE_SHARE = 4
"""A line's border is near if it costs no more than a quarter of the head, or of the tail."""

_CLUSTER_CHARS = 32
"""A longer grapheme cluster is cut: it is no letter of any language."""

_FLAG_HALVES = 4096
"""Of a longer row of flags, the pairs are guessed."""

_JOINER = "\u200d"


def utf8_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def cut_text(text: str, max_bytes: int) -> str:
    """Head and tail of a text that is longer than `max_bytes` UTF-8 bytes.

    The result has `max_bytes` at most, marker included.
    """
    total = utf8_bytes(text)
    if total <= max_bytes:
        return text
    room = max_bytes - len(_marker(total, total))
    if room < len(_marker(total, total)):
        mark = SHORT_MARK if max_bytes >= utf8_bytes(SHORT_MARK) else ""
        return text[: _head_end(text, max_bytes - utf8_bytes(mark))] + mark
    tail_bytes = room // 3
    head = text[: _head_end(text, room - tail_bytes)]
    tail = text[_tail_start(text, tail_bytes) :]
    return head + _marker(total - utf8_bytes(head) - utf8_bytes(tail), total) + tail


def _marker(cut: int, total: int) -> str:
    return f"\n[... {cut} of {total} bytes cut here ...]\n"


def _head_end(text: str, max_bytes: int) -> int:
    """Where a head of `max_bytes` at most ends, as an index of a character."""
    raw = text[:max_bytes].encode("utf-8", "surrogatepass")
    end = len(raw[: _character_start(raw, max_bytes)].decode("utf-8", "surrogatepass"))
    line = text.rfind("\n", end - end // _LINE_SHARE, end) + 1
    if line:
        return line
    for index in range(end, max(end - _CLUSTER_CHARS, 0), -1):
        if is_border(text, index):
            return index
    return end


def _tail_start(text: str, max_bytes: int) -> int:
    """Where a tail of `max_bytes` at most starts."""
    raw = text[len(text) - max_bytes :].encode("utf-8", "surrogatepass")
    first = len(raw) - max_bytes
    while first < len(raw) and _is_inside(raw[first]):
        first += 1
    size = len(raw[first:].decode("utf-8", "surrogatepass"))
    start = len(text) - size
    line = text.find("\n", start, start + size // _LINE_SHARE) + 1
    if line:
        return line
    for index in range(start, min(start + _CLUSTER_CHARS, len(text))):
        if is_border(text, index):
            return index
    return start


def _character_start(raw: bytes, at: int) -> int:
    """The start of the character that the byte at `at` is in."""
    while 0 < at < len(raw) and _is_inside(raw[at]):
        at -= 1
    return at


def _is_inside(byte: int) -> bool:
    """Whether a byte of UTF-8 continues a character."""
    return 0x80 <= byte < 0xC0  # noqa: PLR2004 - 0b10xxxxxx


def is_border(text: str, index: int) -> bool:
    """Return whether a text may be cut before the character at `index`."""
    before, after = text[index - 1 : index], text[index : index + 1]
    if not before or not after:
        return True
    if after.isascii():
        return not (before == "\r" and after == "\n")
    if before == _JOINER or _extends(after):
        return False
    if _is_flag_half(after):
        return _flag_halves(text, index) % 2 == 0
    return not _are_jamo(before, after)


def _extends(character: str) -> bool:
    """Marks, joiners, variation selectors, skin tones and tags belong to what is before them."""
    return (
        category(character).startswith("M")
        or character == _JOINER
        or "\U0001f3fb" <= character <= "\U0001f3ff"
        or "\U000e0020" <= character <= "\U000e007f"
    )


def _flag_halves(text: str, end: int) -> int:
    """How many halves of flags stand before a place, one after another."""
    start = end
    while start > max(0, end - _FLAG_HALVES) and _is_flag_half(text[start - 1]):
        start -= 1
    return end - start


def _is_flag_half(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _are_jamo(before: str, after: str) -> bool:
    """Letters of Hangul that make one syllable."""
    return "\u1160" <= after <= "\u11ff" and (
        "\u1100" <= before <= "\u11ff" or "\uac00" <= before <= "\ud7a3"
    )
