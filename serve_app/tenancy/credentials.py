"""The API key that a request carries, however its client spells it.

Clients put keys in several headers, under several schemes, in quotes, percent-encoded.
What is clear is understood; what is not is refused. A request in which one of our keys
appears anywhere is never taken for one without a key.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator

from router.errors import Rejected, RejectReason
from serve_app.tenancy.auth import HOW_TO_SEND, PREFIX

RawHeaders = Iterable[tuple[bytes, bytes]]

KEY_HEADERS = frozenset(
    {b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"sec-websocket-protocol"}
)
"""Where keys are read: OpenAI's, Anthropic's, Azure's and Gemini's clients, and browsers'
sockets, which can set no other header."""

KEY_SUBPROTOCOL = "pointsman.key."

_SCHEMES = frozenset({"bearer", "token", "basic", "key", "apikey", "api-key"})

_KEY = re.compile(r"(?<![\w-])pm-[\w-]*", re.ASCII | re.IGNORECASE)

# What follows is looked for in small letters, and begins with letters that are found fast:
# anybody may send 16 KB of what nearly fits.

# By hand an id can be any word; then only a whole secret behind it tells it from other words.
_NAMED = (
    r"pm(?:(?<![\w-]pm)|(?<=bearerpm)|(?<=tokenpm)|(?<=keypm)|(?<=sk-pm))"
    r"[\W_]{1,9}[0-9a-z]{4,32}[\W_]{1,9}[\w-]{40}"
)

_DAMAGED = [
    re.compile(pattern, re.ASCII | re.DOTALL)
    for pattern in (r"pm.{0,9}[0-9a-f]{12}", r"(?<=[0-9a-f]{12})-[\w-]{40}", _NAMED)
]
"""What was one of our keys before a space was lost in front of it, its hyphens or its first
letters."""

_STRAY = [
    re.compile(pattern, re.ASCII)
    for pattern in (r"pm[^0-9a-z]{1,9}[0-9a-f]{12}[^0-9a-z]{1,9}[\w-]{20}", _NAMED)
]
"""One of our keys, in a place that may hold anything."""

_PERCENT = re.compile(rb"%(?:25)*([0-9a-f]{2})", re.IGNORECASE)
_BASE64 = re.compile(r"[0-9a-zA-Z+/_-]{40,}")
_URL_SAFE = str.maketrans("-_", "+/")

# Word processors replace hyphens, and wrap words in marks that nobody sees; East Asian ones
# have letters of their own for these.
_DASHES = [*range(0x2010, 0x2016), 0x2043, 0x2212, 0x30FC, 0xFE58, 0xFE63]
_PLAIN = {0xFEE0 + x: x for x in range(0x21, 0x7F)} | dict.fromkeys(_DASHES, ord("-"))


def presented_key(
    headers: RawHeaders, target: bytes = b"", subprotocols: Iterable[str] = ()
) -> str | Rejected | None:
    """The key of a request; None: it carries none; a refusal where that is not clear.

    A word that is not one of our keys counts as a key where there is no other. Names of
    headers are in lower case, `target` is path and query.
    """
    given, offered, elsewhere, others = _read(headers)
    places = [*given, *offered, *subprotocols]
    rest = b"\n".join([target, *others])
    if b"pm" in rest.lower() or b"%" in rest or not rest.isascii():
        # Without these letters, and nothing in it that is decoded to them, it holds no key.
        elsewhere.append(_readable(rest))
    if not (places or elsewhere):
        return None
    keys = {_spelt(found) for text in places for found in _keys_in(text)}
    strays = {_spelt(found) for text in elsewhere for found in _keys_within(text)}
    if len(keys | strays) > 1:
        return _refused("The request carries two different API keys: send one of them.")
    if strays - keys:
        return _refused(f"An API key is not read from there. {HOW_TO_SEND}")
    if keys:
        return keys.pop()
    if any(_fits(_DAMAGED, text) for text in places):
        return _refused(f"The API key is not whole. {HOW_TO_SEND}")
    return next(filter(None, map(_word, [*given, *map(_offered_word, subprotocols)])), None)


def _read(headers: RawHeaders) -> tuple[list[str], list[str], list[str], list[bytes]]:
    """Headers that hold credentials, subprotocols, credentials for proxies; all other lines."""
    given: list[str] = []
    offered: list[str] = []
    elsewhere: list[str] = []
    others: list[bytes] = []
    for name, value in headers:
        if name not in KEY_HEADERS:
            others.append(value)
            if name == b"proxy-authorization":
                elsewhere.append(_credential(value))
        elif name == b"sec-websocket-protocol":
            offered.append(_readable(value))
        else:
            given.append(_credential(value))
    return given, offered, elsewhere, others


def _fits(patterns: list[re.Pattern[str]], text: str) -> bool:
    small = text.lower()
    return any(pattern.search(small) for pattern in patterns)


def _keys_in(text: str) -> list[str]:
    return _KEY.findall(text) if PREFIX in text.lower() else []


def _keys_within(text: str) -> list[str]:
    if not _fits(_STRAY, text):
        return []
    return [x for x in _KEY.findall(text) if _fits(_STRAY, x)] or [PREFIX]


def _spelt(key: str) -> str:
    return PREFIX + key[len(PREFIX) :]


def _credential(value: bytes) -> str:
    """Decode a header that may name a scheme and hold a key, also in base64."""
    text = _readable(value)
    return text if _keys_in(text) else " ".join([text, *_within_base64(text)])


def _within_base64(text: str) -> Iterator[str]:
    """Find texts in base64 that hold one of our keys, wherever the encoding begins."""
    for run in _BASE64.findall(text):
        # A scheme without a space before it moves where the fours begin.
        for start in range(4):
            raw = _from_base64(run[start:])
            if b"pm" not in raw.lower():
                continue
            decoded = _readable(raw)
            if _fits(_DAMAGED, decoded) or (PREFIX in decoded.lower() and decoded.isprintable()):
                yield decoded


def _from_base64(word: str) -> bytes:
    # PowerShell's text has a NUL behind every letter.
    whole = word[: len(word) - (len(word) % 4 == 1)].translate(_URL_SAFE)
    return base64.b64decode(whole + "=" * (-len(whole) % 4)).replace(b"\0", b"")


def _readable(value: bytes) -> str:
    """Decode a header, without percent encoding and without what editors put into text."""
    if b"%" in value:
        value = _PERCENT.sub(lambda found: bytes.fromhex(found[1].decode()), value)
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    if text.isascii():
        return text
    return "".join(x for x in text.translate(_PLAIN) if x.isprintable() or x.isspace())


def _word(text: str) -> str | None:
    """Return what is left without the names of schemes: a key that is not one of ours."""
    words = [x for x in text.split() if x.lower() not in _SCHEMES]
    return " ".join(words) or None


def _offered_word(subprotocol: str) -> str:
    _, found, word = subprotocol.partition(KEY_SUBPROTOCOL)
    return word if found else ""


def _refused(message: str) -> Rejected:
    return Rejected(RejectReason.INVALID_API_KEY, message)
