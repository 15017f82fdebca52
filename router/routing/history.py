"""Where a long conversation is cut, so that its prefix stays the same for many turns.

Theory of operation. Clients send the whole conversation again each turn. A window
that slides with every turn changes the prompt's start each time, and the engine's
prefix cache, which holds leading blocks only, finds nothing behind the system
prompt. With a low and a high watermark the cut stands still while the history grows from
one to the other, and only the turn that crosses the high one is read anew.

The cut is in no table. It is a fold over the conversation: its pieces are walked
from the first to the newest, and whenever what is kept passes the high watermark the cut
moves on to the first turn that brings it to the low one or under. The state after
a piece depends on that piece and those before it, on nothing later and on nothing
outside the request. So every ingress replica finds the same cut, a restart changes
nothing, and the replay of the next request goes through this request's cut. Sizes
must not change between two requests: see `size_tokens`.

Turns. A turn begins with a user message and ends before the next one that begins a
turn; the cut is always at such a beginning. These begin none:

- a user message right after another one: they were written together;
- a user message while a tool call waits for its result (an interruption), so that
  the result, when it comes, is in the turn of its call;
- a message that carries tool results, whatever its role.

A call whose result has not come when the model speaks again after an interruption
is given up. Should its result still come, in a later turn, and should the call have
been dropped, that result is `torn` and has to go too.

System and developer messages are pinned: kept wherever they stand, and not counted.
They belong to the tenant more than to the session (the prefix cache holds them once
for all its sessions), nothing can be saved there, and a date in a system prompt would
move the cut every day.

The newest turn is never cut, however long it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from router.tokens import TOKENS_PER_MESSAGE


class Kind(StrEnum):
    """What a piece of a conversation is, as far as cutting it goes."""

    PINNED = "pinned"
    USER = "user"
    MODEL = "model"
    RESULT = "result"


class Piece(NamedTuple):
    """One message, or one item, of a conversation. A tuple: there are hundreds a request.

    Attributes:
        tokens: its estimated size; must be the same each time it is sent.
        calls: ids of the tool calls it makes.
        answers: ids of the tool calls whose results it brings.

    """

    kind: Kind
    tokens: int
    calls: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HistoryBudget:
    """The watermarks, in tokens of history: over `high`, the cut moves to reach `low`."""

    high_tokens: int
    low_tokens: int

    def __post_init__(self) -> None:
        if not 0 < self.low_tokens < self.high_tokens:
            raise ValueError("0 < low_tokens < high_tokens is required")


@dataclass(frozen=True, slots=True)
class HistoryPlan:
    """What is kept of a conversation.

    Attributes:
        cuts: each place where the cut has stood, as an index of a piece, oldest
            first; the last one holds. Empty: nothing is dropped.
        kept_tokens: from the cut on, without what is pinned.
        dropped_tokens: before the cut, without what is pinned.
        torn: (index of a piece, call id) of results after the cut whose call is
            before it. Hardly ever any.
        moved: whether the cut was moved by what came since the last request: the
            model's newest answer, and what follows it.

    """

    cuts: tuple[int, ...]
    kept_tokens: int
    dropped_tokens: int
    moved: bool = False
    torn: frozenset[tuple[int, str]] = frozenset()

    @property
    def cut(self) -> int:
        """The index of the first piece that is kept; pinned pieces are kept before it too."""
        return self.cuts[-1] if self.cuts else 0


def size_tokens(utf8_bytes: int, bytes_per_token: float) -> int:
    """Return the size of one message, from its text alone.

    A fixed rate, not the lane's learned one (`router.tokens`): that moves with every
    answer, differs between ingress replicas and lanes, and would move the cut of a
    conversation that has not changed. Rounding is per message for the same reason.
    """
    return int(utf8_bytes / bytes_per_token) + TOKENS_PER_MESSAGE


def plan_history(pieces: Sequence[Piece], budget: HistoryBudget) -> HistoryPlan:
    """Replay a conversation and return where it is cut now.

    The kept size is at most `high_tokens`, or it is that of the newest turn alone.
    The cut never moves back as the conversation grows. A move drops more than
    `high - low` tokens, or leaves the newest turn alone; then it and the next move
    drop more than `high` together. So a conversation of T tokens has fewer than
    T / min(high - low, high / 2) moves. Time: linear in the number of pieces.
    """
    replay = _Replay(budget)
    for index, piece in enumerate(pieces):
        if piece.kind is not Kind.PINNED:
            replay.feed(index, piece)
    return replay.plan(pieces)


class _Replay:
    """The fold's state: sizes before each turn, the cut, and calls that wait."""

    def __init__(self, budget: HistoryBudget) -> None:
        self._budget = budget
        # Per turn: index of its first piece, and tokens before it.
        self._starts: list[int] = []
        self._before: list[int] = []
        self._total = 0
        # The total from which what is kept is over the high watermark.
        self._full_at = budget.high_tokens
        self._turn = 0
        self._cuts: list[int] = []
        self._moved_at = -1
        self._open: set[str] = set()
        self._interrupted = False
        self._last: Kind | None = None

    def feed(self, index: int, piece: Piece) -> None:
        kind, tokens, calls, _ = piece
        begins = kind is Kind.USER and self._last is not Kind.USER and not self._open
        if begins or not self._starts:
            self._starts.append(index)
            self._before.append(self._total)
        if self._open or calls:
            self._follow_calls(piece)
        self._last = kind
        self._total += tokens
        if self._total > self._full_at:
            self._advance(index)

    def _follow_calls(self, piece: Piece) -> None:
        if piece.kind is Kind.USER:
            self._interrupted = True
        elif piece.kind is Kind.RESULT:
            if piece.answers:
                # In place: a copy for each of a thousand results would be quadratic.
                self._open.difference_update(piece.answers)
            else:
                # A result that names no call may be anyone's.
                self._open = set()
        else:
            if self._interrupted:
                self._open, self._interrupted = set(), False
            self._open.update(piece.calls)

    def _advance(self, index: int) -> None:
        turn, newest = self._turn, len(self._starts) - 1
        while turn < newest and self._total - self._before[turn] > self._budget.low_tokens:
            turn += 1
        if turn != self._turn:
            self._turn, self._moved_at = turn, index
            self._full_at = self._before[turn] + self._budget.high_tokens
            self._cuts.append(self._starts[turn])

    def plan(self, pieces: Sequence[Piece]) -> HistoryPlan:
        if not self._cuts:
            return HistoryPlan((), self._total, 0)
        dropped = self._before[self._turn]
        return HistoryPlan(
            cuts=tuple(self._cuts),
            kept_tokens=self._total - dropped,
            dropped_tokens=dropped,
            moved=self._moved_at >= _first_new(pieces),
            torn=_torn(pieces, self._cuts[-1]),
        )


def _first_new(pieces: Sequence[Piece]) -> int:
    """Return the index of the first piece of the model's newest answer."""
    index = len(pieces)
    while index and pieces[index - 1].kind is not Kind.MODEL:
        index -= 1
    while index and pieces[index - 1].kind is Kind.MODEL:
        index -= 1
    return index


def _torn(pieces: Sequence[Piece], cut: int) -> frozenset[tuple[int, str]]:
    """Return results from `cut` on whose call, the last one of that id, was made before it."""
    dropped = {call for piece in pieces[:cut] if piece.kind is not Kind.PINNED
               for call in piece.calls}  # fmt: skip
    torn = []
    for index in range(cut, len(pieces)):
        torn += [(index, call) for call in pieces[index].answers if call in dropped]
        dropped.difference_update(pieces[index].calls)
    return frozenset(torn)
