"""What will be said: the whole answer of one choice, known before it is timed."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from simulator.http.asks import DEFAULT_OUTPUT_TOKENS, Ask
from simulator.model.text import END_PIECE, Piece, answer, pieces


@dataclass(slots=True)
class Choice:
    """One answer to one prompt.

    Attributes:
        tokens: ids and texts, in order.
        finish: `stop`, `length` or `tool_calls`.
        stop_reason: the stop string that ended it.

    """

    index: int
    prompt: array[int]
    tokens: list[Piece]
    finish: str
    stop_reason: str | None = None

    def text(self, first: int = 0, last: int | None = None) -> str:
        """Text of the tokens [first, last)."""
        said = b"".join(piece for _, piece in self.tokens[first:last])
        return said.decode("utf-8", "replace")

    def ids(self, first: int = 0, last: int | None = None) -> list[int]:
        """Ids of the tokens [first, last)."""
        return [number for number, _ in self.tokens[first:last]]


def choices_of(ask: Ask, window: int, mean: float | None, random: Random) -> list[Choice]:
    """Every choice of a request: `copies` for each prompt.

    Args:
        ask: the request.
        window: tokens that prompt and answer may have in all.
        mean: mean length of answers that end by themselves; None: they do not.
        random: draws the texts of sampled requests.

    """
    made: list[Choice] = []
    for prompt in ask.prompts:
        for copy in range(ask.copies):
            variant = ask.variant
            if variant is None or copy:
                variant = random.getrandbits(31) + 1
            made.append(_choice(len(made), ask, prompt, window - len(prompt), mean, variant))
    return made


def _choice(
    index: int, ask: Ask, prompt: array[int], room: int, mean: float | None, variant: int
) -> Choice:
    natural = None if ask.ignore_eos else mean
    most = ask.max_tokens or (room if natural else DEFAULT_OUTPUT_TOKENS)
    most = max(1, min(most, room))
    if ask.script is not None:
        tokens = [*pieces(ask.script), END_PIECE][:most]
    else:
        tokens = answer(prompt, most, least=ask.min_tokens, mean=natural, variant=variant)
    ended = tokens[-1] == END_PIECE
    finish = ("tool_calls" if ask.tool else "stop") if ended else "length"
    choice = Choice(index, prompt, tokens, finish)
    if ask.stop:
        _stop(choice, ask.stop)
    return choice


def _stop(choice: Choice, stops: tuple[str, ...]) -> None:
    """End a choice before the first stop string in it."""
    text = choice.text()
    found = [(text.find(stop), stop) for stop in stops if stop and stop in text]
    if not found:
        return
    at, stop = min(found)
    end = at + len(stop)
    ends = list(itertools.accumulate(len(piece.decode("utf-8", "replace"))
                                     for _, piece in choice.tokens))  # fmt: skip
    last = next(number for number, upto in enumerate(ends) if upto >= end)
    kept, left = [], at
    for number, piece in choice.tokens[: last + 1]:
        shown = piece[: max(0, left)]
        kept.append((number, shown))
        left -= len(piece)
    choice.tokens, choice.finish, choice.stop_reason = kept, "stop", stop


def block_keys(
    prompt: array[int], tokens: list[Piece], size: int, salt: str
) -> Callable[[int], int]:
    """Keys of the sequence's full blocks: each stands for its tokens and all before it.

    Blocks are asked for in ascending order, so each key is made from the last one.
    """
    keys = [hash(salt)]
    ids = prompt + array("I", (number for number, _ in tokens))

    def key(index: int) -> int:
        while len(keys) <= index + 1:
            done = (len(keys) - 1) * size
            keys.append(hash((keys[-1], ids[done : done + size].tobytes())))
        return keys[index + 1]

    return key
