"""What an engine says when it fails on a request, as far as a client should read it.

The message of a 5xx is an exception's text. Some say what was asked too much
("Speculative decoding does not support min_p yet."), most say where a program tripped
over it. Sentences of the first kind are passed on; nothing is that has marks of the
second, or that holds words of the prompt.
"""

from __future__ import annotations

import re

from router.errors import Rejected, RejectReason
from serve_app.http_errors import engine_error
from serve_app.wire import Prompt

NOT_NOW = frozenset({502, 503, 504})
"""Statuses that speak of the replica and not of what was asked."""

FAILED_ON_IT = (
    "The model cannot work with this request: one of its fields has a value that makes it fail. "
    "Leave optional fields out, one after the other, to find which."
)

MAX_CHARS = 300
MAX_PROMPT_BYTES = 128 * 1024
"""The words of a longer prompt are not compared, and so nothing is passed on."""

SAME_WORDS = 3
"""Words in a row that are the prompt's if the prompt has them too."""

_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")
_INTERNALS = re.compile(
    r"""
    [/\\<>{}\[\]_=`|"@#$%*^~]      # paths, reprs, tags, names with underscores, quotations
    | (?<!\w)' | '(?!\w)           # 'quoted', which is the input or a type
    | \w\( | \)\s*$ | ::           # calls
    | \w\.\w                       # modules, files, addresses
    | \b0x[0-9a-f]+
    | \b(?:error|exception|warning|traceback|trace|assert\w*|errno|root\ cause|line\ \d+|cuda|nccl
        |object|attribute|index|key|argument|positional|keyword|subscript\w*|iterable|callable
        |hashable|unhashable|none|nan|null|dtype|tensor|tuple|dict|str|int|thread|process
        |coroutine|await\w*|pickle|socket|internal|server|engine|core|worker|rank|device)\b
    """,
    re.VERBOSE | re.IGNORECASE,
)
# What case tells is looked for apart: the pattern above ignores it.
_NAMES = re.compile(r"\b\w*[a-z0-9][A-Z]\w*|\b[A-Z]{2,}\w*")


def objection(body: bytes, prompt: Prompt) -> Rejected:
    """The refusal for a request on which a healthy engine failed.

    Args:
        body: the engine's error, whole or the data of an event.
        prompt: of which nothing is repeated.

    """
    message = engine_error(body).get("message")
    words = plain_words(message, prompt) if isinstance(message, str) else ""
    return Rejected(RejectReason.INVALID_REQUEST, words or FAILED_ON_IT)


def plain_words(message: str, prompt: Prompt) -> str:
    """The sentences of a message that a client may read; empty when there are none."""
    said = (sentence.strip() for sentence in _SENTENCE.split(message[: 4 * MAX_CHARS]))
    kept = [sentence for sentence in said if _is_plain(sentence)]
    if not kept or prompt.bytes > MAX_PROMPT_BYTES:
        return ""
    theirs = _words(" ".join((prompt.system, *prompt.users)))
    known = set(_runs(theirs, min(SAME_WORDS, len(theirs))))
    own = [x for x in kept if known.isdisjoint(_runs(_words(x), min(SAME_WORDS, len(theirs))))]
    return " ".join(own)[:MAX_CHARS]


def _is_plain(sentence: str) -> bool:
    if len(sentence.split()) < SAME_WORDS or not sentence[0].isupper():
        return False
    return not (_INTERNALS.search(sentence) or _NAMES.search(sentence))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _runs(words: list[str], length: int) -> list[tuple[str, ...]]:
    if not length:
        return []
    return [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]
