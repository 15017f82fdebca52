"""Tokens and texts of the simulated engine.

The tokenizer is a fixed rule, about four bytes a token in English. The next token
depends on every token before it and on nothing else, as in a language model decoded
greedily: an answer that was cut goes on word for word from what was already said,
on any engine, whether it is given back as text or as token ids.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable
from functools import lru_cache
from itertools import product
from zlib import crc32

VOCABULARY_SIZE = 128_000
SPECIAL = 16
"""Token ids below this are special: roles and ends."""

END_OF_TEXT = 2
END_OF_MESSAGE = 3
ROLES = {"system": 4, "developer": 4, "user": 5, "assistant": 6, "tool": 7}

# A word piece with its leading space; digits; one other character; UTF-8 by pieces.
_PIECE = re.compile(rb" ?[A-Za-z]{1,10}| ?[0-9]{1,3}|[\x80-\xff]{1,3}|[\x00-\x7f]", re.DOTALL)

FIRST_WORD = b"simulated"
_SYLLABLES = ("ka", "ri", "to", "ne", "lu", "mo", "sa", "vi")
WORDS = tuple(f" {a}{b}{c}".encode() for a, b, c in product(_SYLLABLES, repeat=3))

Piece = tuple[int, bytes]
"""One token: its id and its text."""

END_PIECE: Piece = (END_OF_TEXT, b"")


def token_id(piece: bytes) -> int:
    return SPECIAL + crc32(piece) % (VOCABULARY_SIZE - SPECIAL)


def pieces(text: bytes) -> list[Piece]:
    """A text as tokens; joining their texts gives it back."""
    return [(token_id(piece), piece) for piece in _PIECE.findall(text)]


@lru_cache(maxsize=8192)
def tokenize(text: bytes) -> array[int]:
    """Token ids of a text. Cached: every turn brings its history along."""
    return array("I", [token_id(piece) for piece in _PIECE.findall(text)])


_WORD_PIECES: tuple[Piece, ...] = tuple((token_id(word), word) for word in WORDS)
_WORD_BYTES = tuple(array("I", [number]).tobytes() for number, _ in _WORD_PIECES)
_FIRST_PIECE: Piece = (token_id(FIRST_WORD), FIRST_WORD)


def answer(
    prompt: array[int],
    most: int,
    *,
    least: int = 0,
    mean: float | None = None,
    variant: int = 0,
) -> list[Piece]:
    """What the engine says after `prompt`.

    Args:
        prompt: token ids.
        most: longest answer in tokens.
        least: the answer does not end by itself before so many tokens.
        mean: mean length of answers that end by themselves; None: they do not.
        variant: 0 for greedy decoding; other values give other texts.

    """
    state = crc32(prompt.tobytes(), variant)
    said: list[Piece] = []
    if prompt and prompt[-1] == ROLES["assistant"]:
        said.append(_FIRST_PIECE)
        state = crc32(array("I", [_FIRST_PIECE[0]]).tobytes(), state)
    # The token after each state is drawn from it; the low bits decide about the end.
    end_below = int(2**16 / mean) if mean else 0
    count = len(_WORD_PIECES)
    while len(said) < most:
        mixed = (state * 0x9E3779B1) & 0xFFFFFFFF
        if (mixed & 0xFFFF) < end_below and len(said) >= least:
            said.append(END_PIECE)
            break
        index = (mixed >> 16) % count
        said.append(_WORD_PIECES[index])
        state = crc32(_WORD_BYTES[index], state)
    return said[:most]


_TEXTS = dict((_FIRST_PIECE, *_WORD_PIECES))


def detokenize(ids: Iterable[int]) -> str:
    """The text of an answer's tokens; special ones have none. Raises ValueError.

    Only what `answer` says can be told: the tokenizer is a hash.
    """
    try:
        said = b"".join(b"" if number < SPECIAL else _TEXTS[number] for number in ids)
    except KeyError as error:
        raise ValueError(f"token {error} is not one of an answer") from error
    return said.decode()


def text_of(tokens: int, seed: int) -> str:
    """A text of exactly so many tokens, for prompts of a wanted length."""
    return b"".join(piece for _, piece in answer(array("I", [seed]), tokens)).decode().strip()
