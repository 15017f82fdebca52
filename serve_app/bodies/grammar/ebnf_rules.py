"""Grammars in the engine's EBNF, read as one expression: each rule in the place of its name.

A rule that comes back to itself is not followed in bounded time by xgrammar: of
`root ::= root root | "a"` each token costs more than the one before, seconds after some
hundred. Which recursive grammars are harmless cannot be told, so none is read here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from serve_app.bodies.grammar.regex_rules import FEW, Expression, Shape, Unreadable, read_class

_TOKEN = re.compile(
    r"""(?P<blank>\s+|\#[^\n]*)|(?P<name>[A-Za-z_][A-Za-z0-9_-]*(?P<rule>\s*::=)?)|
    "(?P<text>(?:[^"\\\n]|\\.)*)"|(?P<set>\[(?:[^\]\\\n]|\\.)*\])|
    (?P<times>\{\s*[0-9]{1,9}\s*(?:,\s*(?:[0-9]{1,9})?\s*)?\}|[*+?])|(?P<mark>[()|])""",
    re.VERBOSE,
)
_TIMES = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_ESCAPED = {"n": 10, "r": 13, "t": 9}
MAX_TOKENS = 20_000

Token = tuple[str, str]


@dataclass(slots=True)
class _Reader:
    """Rules by name, and the expression that the first of them stands for."""

    rules: dict[str, list[Token]]
    expression: Expression = field(default_factory=Expression)
    open: list[str] = field(default_factory=list)
    steps: int = 0

    def rule(self, name: str) -> Shape:
        if name in self.open or name not in self.rules:
            raise Unreadable
        self.open.append(name)
        tokens = self.rules[name]
        shape, end = self._either(tokens, 0)
        if end != len(tokens):
            raise Unreadable
        self.open.pop()
        return shape

    def _either(self, tokens: list[Token], at: int) -> tuple[Shape, int]:
        ways: list[Shape] = []
        parts: list[Shape] = []
        while at < len(tokens) and tokens[at] != ("mark", ")"):
            self._count()
            if tokens[at] == ("mark", "|"):
                ways.append(self.expression.sequence(parts))
                parts, at = [], at + 1
                continue
            part, at = self._repeated(tokens, at)
            parts.append(part)
        return self.expression.either([*ways, self.expression.sequence(parts)]), at

    def _repeated(self, tokens: list[Token], at: int) -> tuple[Shape, int]:
        begin = at
        part, at = self._one(tokens, at)
        while at < len(tokens) and tokens[at][0] == "times":
            least, most = _times(tokens[at][1])
            if least == most and most <= FEW and not part.is_plain:
                copies = [self._one(tokens, begin)[0] for _ in range(most - 1)]
                part = self.expression.sequence([part, *copies])
            else:
                part = self.expression.repeated(part, least, most)
            at += 1
        return part, at

    def _one(self, tokens: list[Token], at: int) -> tuple[Shape, int]:
        self._count()
        kind, text = tokens[at]
        if kind == "name":
            return self.rule(text), at + 1
        if kind == "set":
            return self.expression.one_of(read_class(text)), at + 1
        if kind == "text":
            return (self.expression.one_of(_first(text), len(text)) if text else Shape()), at + 1
        if text != "(":
            raise Unreadable
        shape, at = self._either(tokens, at + 1)
        if at >= len(tokens):
            raise Unreadable
        return shape, at + 1

    def _count(self) -> None:
        self.steps += 1
        if self.steps > MAX_TOKENS:
            raise Unreadable


def read_ebnf(grammar: str) -> Expression:
    """Return the expression that a grammar stands for. Raises Unreadable for recursive ones."""
    reader = _Reader(_rules(grammar))
    try:
        reader.expression.root = reader.rule("root")
    except RecursionError as error:
        raise Unreadable from error
    return reader.expression


def _rules(grammar: str) -> dict[str, list[Token]]:
    rules: dict[str, list[Token]] = {}
    tokens: list[Token] = []
    at = 0
    while at < len(grammar):
        match = _TOKEN.match(grammar, at)
        if match is None:
            raise Unreadable
        at = match.end()
        kind = str(match.lastgroup)
        if match["rule"]:
            name = match["name"][: -len(match["rule"])]
            if name in rules:
                raise Unreadable
            tokens = rules[name] = []
        elif kind != "blank":
            tokens.append((kind, match[kind]))
    return rules


def _times(text: str) -> tuple[int, int | None]:
    if text in _TIMES:
        return _TIMES[text]
    least, comma, most = text.strip("{}").partition(",")
    if not comma:
        return int(least), int(least)
    return int(least), int(most) if most.strip() else None


def _first(text: str) -> int:
    """Return the set of a text's first character."""
    if text[0] != "\\":
        return 1 << min(ord(text[0]), 128)
    code = _ESCAPED.get(text[1], ord(text[1]))
    # Written as a number: any of them.
    return (1 << 129) - 1 if text[1] in "xuU" else 1 << min(code, 128)
