"""A matcher of regular expressions that counts its steps, as `re` backtracks.

It walks the tree that `re` itself compiles, and knows what the patterns of redaction use. A step
is one look at one item at one place. `re` has short cuts that save steps and none that adds any.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from re import _constants as op
from re import _parser

_REPEATS = (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT)

_CLASSES = {
    op.CATEGORY_DIGIT: r"\d",
    op.CATEGORY_WORD: r"\w",
    op.CATEGORY_SPACE: r"\s",
    op.CATEGORY_NOT_SPACE: r"\S",
    op.CATEGORY_NOT_WORD: r"\W",
}


class CountedRegex:
    """One expression. `steps`: all that its searches have taken so far."""

    def __init__(self, regex: re.Pattern[str]) -> None:
        self._tree = _plain(_parser.parse(regex.pattern), folds=False)
        self.steps = 0

    def finditer(self, text: str) -> list[tuple[int, int]]:
        """Spans as `re` finds them: leftmost, one after the other."""
        found, at = [], 0
        while at <= len(text):
            end = next(self._seq(self._tree, 0, text, at), None)
            if end is not None:
                found.append((at, end))
            at = end if end is not None and end > at else at + 1
        return found

    def _seq(self, items: list, index: int, text: str, at: int) -> Iterator[int]:
        if index == len(items):
            yield at
            return
        for end in self._one(items[index], text, at):
            yield from self._seq(items, index + 1, text, end)

    def _one(self, item: tuple, text: str, at: int) -> Iterator[int]:
        self.steps += 1
        kind, value = item
        if kind is op.IN:
            if at < len(text) and value(text[at]):
                yield at + 1
        elif kind is op.SUBPATTERN:
            yield from self._seq(value, 0, text, at)
        elif kind is op.BRANCH:
            for branch in value:
                yield from self._seq(branch, 0, text, at)
        elif kind in (op.ASSERT, op.ASSERT_NOT):
            back, tree = value
            holds = at >= back and next(self._seq(tree, 0, text, at - back), None) is not None
            if holds is (kind is op.ASSERT):
                yield at
        elif kind is op.POSSESSIVE_REPEAT:
            yield from self._possessive(*value, text, at)
        else:
            yield from self._repeat(kind is op.MAX_REPEAT, *value, text, at)

    def _possessive(self, least: int, most: int, tree: list, text: str, at: int) -> Iterator[int]:
        count = 0
        while count < most:
            end = next(self._seq(tree, 0, text, at), None)
            if end is None or end == at:
                break
            at, count = end, count + 1
        if count >= least:
            yield at

    def _repeat(
        self, is_greedy: bool, least: int, most: int, tree: list, text: str, at: int
    ) -> Iterator[int]:
        if least == 0 and not is_greedy:
            yield at
        if most > 0:
            for end in self._seq(tree, 0, text, at):
                yield from self._repeat(is_greedy, max(0, least - 1), most - 1, tree, text, end)
        if least == 0 and is_greedy:
            yield at


def _plain(tree, *, folds: bool) -> list:
    """The tree as lists; each class of signs as a function."""
    return [_item(kind, value, folds) for kind, value in tree]


def _item(kind, value, folds: bool) -> tuple:
    if kind in (op.LITERAL, op.NOT_LITERAL, op.IN):
        entries = value if kind is op.IN else [(kind, value)]
        written = "".join(map(_written, entries))
        return op.IN, re.compile(f"[{written}]", re.IGNORECASE if folds else 0).fullmatch
    if kind is op.ANY:
        return op.IN, re.compile(".").fullmatch
    if kind is op.SUBPATTERN:
        return kind, _plain(value[3], folds=folds or bool(value[1] & re.IGNORECASE))
    if kind is op.BRANCH:
        return kind, [_plain(branch, folds=folds) for branch in value[1]]
    if kind in (op.ASSERT, op.ASSERT_NOT):
        direction, tree = value
        return kind, (tree.getwidth()[0] if direction < 0 else 0, _plain(tree, folds=folds))
    if kind in _REPEATS:
        return kind, (*map(int, value[:2]), _plain(value[2], folds=folds))
    raise NotImplementedError(kind)


def _written(entry: tuple) -> str:
    kind, value = entry
    if kind is op.NEGATE:
        return "^"
    if kind is op.NOT_LITERAL:
        return "^" + re.escape(chr(value))
    if kind is op.RANGE:
        return f"{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}"
    return re.escape(chr(value)) if kind is op.LITERAL else _CLASSES[value]
