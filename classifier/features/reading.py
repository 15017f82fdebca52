"""Which part of a text is read, and its words.

Reading must cost the same at any length, so a long text is cut to its head and
its tail, where instructions and questions stand.
"""

import unicodedata

# Some 300 tokens. What is read bounds the cost of a decision: a text of words that
# were never seen before costs 5 us a word.
HEAD_CHARS = 600
TAIL_CHARS = 600
# A longer word is an identifier or encoded data; its start tells as much.
MAX_WORD_BYTES = 24

# A character becomes 18 of ASCII at most (Unicode's NFKD), and between words is one.
MOST_WORDS = (18 * (HEAD_CHARS + TAIL_CHARS + 1) + 1) // 2

_INSIDE_WORD = b"abcdefghijklmnopqrstuvwxyz0123456789'+#"
# Lower-cases ASCII and turns what cannot stand inside a word into a space.
TO_WORDS = bytes(
    byte if (byte := bytes([code]).lower()[0]) in _INSIDE_WORD else 0x20 for code in range(256)
)


def cut(text: str) -> str:
    """The head and the tail of `text`: all that is read of it."""
    if len(text) <= HEAD_CHARS + TAIL_CHARS:
        return text
    return f"{text[:HEAD_CHARS]}\n{text[-TAIL_CHARS:]}"


def to_ascii(read: str) -> bytes:
    """ASCII bytes of `read`; accents are stripped, other scripts dropped."""
    if read.isascii():
        return read.encode("ascii")
    return unicodedata.normalize("NFKD", read).encode("ascii", "ignore")


def split_words(ascii_bytes: bytes) -> list[bytes]:
    """Lower-case words of ASCII letters, digits, `'`, `+` and `#`, in order."""
    words = ascii_bytes.translate(TO_WORDS).split()
    if words and max(map(len, words)) > MAX_WORD_BYTES:
        return [word[:MAX_WORD_BYTES] for word in words]
    return words
