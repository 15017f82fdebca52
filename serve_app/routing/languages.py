"""In which language a conversation is held, as far as that is clear.

py3langid (BSD) tells 120 languages from the bytes of a text, with a probability, in about 50 us
for a sentence. It is loaded only where a fleet has lanes for languages: half a second, and 75 MB
in each ingress replica.

A conversation has the language of the first user turn that shows one. That is a word of the
request's alone, the same on every ingress replica, and it stays as the conversation grows: a
word, a name or a pasted error in another language moves nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import blake2b
from typing import Protocol

from router.stable_text.stable_text import own_words
from serve_app.config.errors import ConfigError, nearest

MIN_LETTERS = 12
"""Of fewer letters nothing is said: `merci` and `ok` are words of several languages."""

MIN_PROBABILITY = 0.4
"""Sentences of five words are over it nearly always; code, logs and commands, which are in no
language or in English, are under it in all others (`languages_seen.py` of the tests)."""

MAX_TURNS = 8
"""User turns that are looked at, from the first on."""

MAX_BYTES = 400
"""Read of one turn; 110 us of Latin text."""

MAX_READ_BYTES = 800
"""Read of one request."""

MAX_REMEMBERED = 4096
"""Turns whose language is remembered, 200 bytes each."""


class Identifier(Protocol):
    """What is used of py3langid."""

    @property
    def labels(self) -> list[str]:
        """The codes that it knows."""

    def classify(self, text: str) -> tuple[str, float]:
        """Return the likeliest code and its probability."""


class Languages:
    """Tells the languages of conversations, in one ingress replica."""

    def __init__(self, identifier: Identifier) -> None:
        self._identifier = identifier
        self._known: OrderedDict[bytes, str | None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def of(self, turns: Sequence[str]) -> str | None:
        """Return the code of a conversation's language; None: no turn shows one clearly."""
        budget = MAX_READ_BYTES
        for turn in turns[:MAX_TURNS]:
            words = own_words(turn)[:MAX_BYTES]
            if sum(map(str.isalpha, words)) < MIN_LETTERS:
                continue
            read = words.encode("utf-8", "replace")[:MAX_BYTES]
            # Of turns that are remembered, too: all ingress replicas stop at the same one.
            budget -= len(read)
            if budget < 0:
                break
            key = blake2b(read, digest_size=16).digest()
            if key not in self._known:
                self._remember(key, self._classified(read))
            language = self._known[key]
            if language is not None:
                return language
        return None

    def _classified(self, read: bytes) -> str | None:
        code, probability = self._identifier.classify(read.decode("utf-8", "ignore"))
        return code if probability >= MIN_PROBABILITY else None

    def _remember(self, key: bytes, language: str | None) -> None:
        self._known[key] = language
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)


def languages_of(codes: Iterable[str]) -> Languages | None:
    """Return what tells these languages from all others; None: there are none.

    Raises ConfigError for a code that is not known.
    """
    wanted = sorted(codes)
    if not wanted:
        return None
    identifier = _identifier()
    known = identifier.labels
    for code in wanted:
        if code not in known:
            raise ConfigError(
                f"routing.languages: '{code}' is no language that can be told{nearest(code, known)}"
            )
    return Languages(identifier)


@cache
def _identifier() -> Identifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    found: Identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    return found
