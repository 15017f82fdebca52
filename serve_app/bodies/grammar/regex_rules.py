"""How hard a regular expression is to follow, as far as that can be told by counting.

The engine follows an expression with every token, between the steps of all streams. One of
which each character says where it stands costs nothing: `[a-z0-9]+(-[a-z0-9]+)*`. Of
`([a-z]+)*` each character may end a group or go on, and xgrammar keeps all the ways: some
hundred characters later one step takes seconds. So it is counted where an expression
leaves open how to go on (the positions of Glushkov's automaton that a character may mean).
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as reader  # type: ignore[attr-defined]
from typing import Any

MAX_POSITIONS = 400
"""Characters and classes of an expression that is looked at: follow sets are quadratic."""

FEW, MANY = 4, 32
"""Repetitions that are no more than a part written out; and that are as good as endless."""

_BEYOND = 1 << 128
_ALL = (_BEYOND << 1) - 1
"""A set of characters: a bit for each of ASCII, and one for all others."""

_OTHER_WAYS = (
    (re.compile(r"\\[pP]\{[^{}]{0,40}\}"), r"[\\s\\S]"),
    (re.compile(r"\(\?<(?=[A-Za-z_])"), "(?P<"),
    (re.compile(r"\\u\{[0-9a-fA-F]{1,6}\}"), "\u0100"),
    (re.compile(r"\\c[A-Za-z]"), r"\\n"),
)
"""What JavaScript writes otherwise than Python, and what it stands for as a set."""


class Unreadable(Exception):
    """No expression that can be judged."""


@dataclass(slots=True)
class Shape:
    """What an expression, or a part of one, is made of.

    Attributes:
        first, last: sets of characters that it may begin and end with, by position.
        can_be_empty: whether it matches nothing at all.
        size: positions, with counted repetitions written out.
        is_plain: whether it is one character, once.

    """

    first: list[int] = field(default_factory=list)
    last: list[int] = field(default_factory=list)
    can_be_empty: bool = True
    size: int = 0
    is_plain: bool = False


class Expression:
    """An expression that is being put together.

    Attributes:
        sets: characters of each position.
        follow: positions that may come after each.
        loops: positions at the end of what is repeated without an end, or often.
        is_endless: whether a repeated part leaves open where it ends.

    """

    def __init__(self) -> None:
        self.sets: list[int] = []
        self.follow: list[list[int]] = []
        self.loops: set[int] = set()
        self.is_endless = False
        self.root = Shape()

    def one_of(self, characters: int, size: int = 1) -> Shape:
        """Add one character, or a fixed text of `size` that begins with one of them."""
        if len(self.sets) >= MAX_POSITIONS:
            raise Unreadable
        self.sets.append(characters)
        self.follow.append([])
        position = [len(self.sets) - 1]
        return Shape(position, position, False, size, is_plain=True)

    def sequence(self, parts: list[Shape]) -> Shape:
        whole = Shape()
        if len(parts) == 1:
            return parts[0]
        for part in parts:
            self._link(whole.last, part.first)
            first = whole.first + part.first if whole.can_be_empty else whole.first
            last = whole.last + part.last if part.can_be_empty else part.last
            is_empty = whole.can_be_empty and part.can_be_empty
            whole = Shape(first, last, is_empty, whole.size + part.size)
        return whole

    def either(self, parts: list[Shape]) -> Shape:
        return Shape(
            [x for part in parts for x in part.first],
            [x for part in parts for x in part.last],
            not parts or any(part.can_be_empty for part in parts),
            sum(part.size for part in parts),
        )

    def repeated(self, part: Shape, least: int, most: int | None) -> Shape:
        """Repeat a part. `most` None: without an end."""
        size = part.size * max(least, most or 1, 1)
        is_loop = most is None or most > 1
        if is_loop and (least != most or most > FEW) and not part.is_plain:
            self.is_endless |= self._is_open(part)
        if is_loop and least != most:
            self._link(part.last, part.first)
        if most is None or most > MANY:
            self.loops.update(part.last)
        return Shape(part.first, part.last, part.can_be_empty or least == 0, size)

    @property
    def borders(self) -> int:
        """Places where one character may go on with a long repetition or begin the next."""
        return sum(
            1
            for x in self.loops
            for y in set(self.follow[x]) & self.loops
            if x != y and self.sets[x] & self.sets[y] and x in self.follow[x]
        )

    @property
    def choices(self) -> int:
        """Pairs of positions that one character may mean, over all places."""
        places = [self.root.first, *self.follow]
        return sum(self._overlaps(place) for place in places)

    def _overlaps(self, place: list[int]) -> int:
        sets = [self.sets[x] for x in dict.fromkeys(place)]
        seen, found = 0, 0
        for i, one in enumerate(sets):
            if one & seen:
                found += sum(1 for other in sets[:i] if one & other)
            seen |= one
        return found

    def _is_open(self, part: Shape) -> bool:
        """Return whether a character at the end of a part may go on with it or begin it anew."""
        begin = 0
        for x in part.first:
            begin |= self.sets[x]
        return part.can_be_empty or any(
            self.sets[y] & begin for x in part.last for y in self.follow[x]
        )

    def _link(self, before: list[int], after: list[int]) -> None:
        for x in before:
            self.follow[x] += after
            if len(self.follow[x]) > MAX_POSITIONS:
                self.follow[x] = list(dict.fromkeys(self.follow[x]))


def read_regex(pattern: str) -> Expression:
    """Return an expression's automaton, or raise Unreadable."""
    for theirs, ours in _OTHER_WAYS:
        pattern = theirs.sub(ours, pattern)
    try:
        expression = Expression()
        expression.root = _shape(expression, _tree(pattern))
    except (re.error, RecursionError, OverflowError) as error:
        raise Unreadable from error
    return expression


def _tree(pattern: str) -> Any:
    with warnings.catch_warnings():
        # Of sets that a later Python may read otherwise.
        warnings.simplefilter("ignore")
        return reader.parse(pattern)


def read_class(text: str) -> int:
    """Return the set of a class of characters, in brackets."""
    try:
        tree = _tree(text)
    except (re.error, OverflowError) as error:
        raise Unreadable from error
    return _set(*tree[0]) if len(tree) == 1 else _ALL


def _shape(expression: Expression, tree: Any) -> Shape:
    return expression.sequence([_part(expression, kind, given) for kind, given in tree])


def _part(expression: Expression, kind: Any, given: Any) -> Shape:
    if kind in (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN, op.CATEGORY):
        return expression.one_of(_set(kind, given))
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
        return _repeated(expression, *given)
    if kind is op.BRANCH:
        return expression.either([_shape(expression, tree) for tree in given[1]])
    if kind in (op.SUBPATTERN, op.ATOMIC_GROUP):
        return _shape(expression, given[3] if kind is op.SUBPATTERN else given)
    if kind not in (op.AT, op.ASSERT, op.ASSERT_NOT):
        raise Unreadable  # references to groups: no engine here follows them
    return Shape()


def _repeated(expression: Expression, least: int, most: Any, tree: Any) -> Shape:
    inner = _shape(expression, tree)
    if least == most <= FEW and inner.size and not inner.is_plain:
        again = [_shape(expression, tree) for _ in range(most - 1)]
        return expression.sequence([inner, *again]) if most else Shape()
    return expression.repeated(inner, least, None if most == op.MAXREPEAT else most)


def _set(kind: Any, given: Any) -> int:
    if kind is op.ANY:
        return _ALL
    if kind is op.LITERAL:
        return _bit(given)
    if kind is op.NOT_LITERAL:
        return _ALL if given > 127 else _ALL & ~_bit(given)
    if kind is op.CATEGORY:
        return _CATEGORIES.get(given, _ALL)
    return _class(given)


def _class(members: list[Any]) -> int:
    characters, is_negated = 0, False
    for kind, given in members:
        if kind is op.NEGATE:
            is_negated = True
        elif kind is op.RANGE:
            characters |= span(*given)
        else:
            characters |= _set(kind, given)
    # Of those beyond ASCII some are always left.
    return (_ALL & ~characters) | _BEYOND if is_negated else characters


def _bit(code: int) -> int:
    return 1 << min(code, 128)


def span(low: int, high: int) -> int:
    """Return the set of a range of characters."""
    ascii_part = (1 << (min(high, 127) + 1)) - (1 << low) if low <= 127 else 0
    return ascii_part | (_BEYOND if high > 127 else 0)


_DIGIT = span(48, 57)
_WORD = _DIGIT | span(65, 90) | span(97, 122) | _bit(95)
_SPACE = sum(1 << ord(x) for x in " \t\n\r\f\v")
_CATEGORIES = {
    op.CATEGORY_DIGIT: _DIGIT,
    op.CATEGORY_NOT_DIGIT: _ALL & ~_DIGIT,
    op.CATEGORY_WORD: _WORD,
    op.CATEGORY_NOT_WORD: _ALL & ~_WORD,
    op.CATEGORY_SPACE: _SPACE,
    op.CATEGORY_NOT_SPACE: _ALL & ~_SPACE,
}
