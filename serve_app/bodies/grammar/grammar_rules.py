"""Bounds on what an answer may be held to: a grammar that holds up the engine is no grammar.

The engine reads a schema on the event loop that all its streams share, and follows it
between their steps. Arrays nested 200 deep take it 0.6 s, 800 of them 40 s, and from some
180 levels on its other process may overflow its stack; `([a-z]+)*` costs seconds a token.
The bounds are the fleet file's `limits.schemas`; what is within them is served, or the
engine refuses it itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from router.errors import Rejected, RejectReason
from serve_app.bodies.body_checks import is_whole
from serve_app.bodies.grammar.constrained_fields import constrained_fields
from serve_app.bodies.grammar.ebnf_rules import read_ebnf
from serve_app.bodies.grammar.part_rules import part_fault, repeats, unpacked
from serve_app.bodies.grammar.regex_rules import Expression, Unreadable, read_regex
from serve_app.bodies.grammar.text_places import TextPlaces
from serve_app.bodies.steps import Steps
from serve_app.config.serving import SchemaConfig

PIECE = 500
"""Values that are looked at in one piece: some 3 ms."""

MAX_REFERRED_LEVELS = 4_000
"""References times levels: a chain of `$ref` is read by recursion, too. Of 200 definitions
with 50 levels each, one after the other, the engine dies."""

LOOKED_INTO = (str, dict, list)
NUMBERS = frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"))
FIXED = frozenset(
    ("const", "begin", "end", "value", "separator", "enum", "choice", "triggers", "excludes")
)
NOTES = frozenset(("default", "example", "examples", "description", "title", "$comment"))
"""What is said about a value. No answer is held to it."""


def constraints_fault(body: dict[str, Any], bounds: SchemaConfig) -> Steps[Rejected | None]:
    """Refuse the first constraint of an answer that the engine must not see, in pieces."""
    look: Look | None = None
    for name, grammar, is_binding in constrained_fields(body):
        if is_binding:
            look = look or Look(bounds)
            wrong = yield from look.fault(grammar)
        else:
            wrong = _depth_fault(grammar, bounds)
        if wrong is not None:
            return Rejected(RejectReason.INVALID_REQUEST, f"'{name}' {wrong}.", param=name)
    return None


def _over(what: str, bounds: SchemaConfig, name: str) -> str:
    return f"{what}: at most {getattr(bounds, name)} (limits.schemas.{name})"


def _depth_fault(value: Any, bounds: SchemaConfig) -> str | None:
    """Say whether something is nested too deep: nothing more is made of it than a text."""
    level = [value]
    for _ in range(bounds.levels):
        inner: list[Any] = []
        for one in level:
            inner += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        if not inner:
            return None
        level = [x for x in inner if isinstance(x, (dict, list))]
    return _over("is nested too deep", bounds, "levels") if level else None


class _Node(NamedTuple):
    """A value of a grammar.

    Attributes:
        key: its name in what holds it; of an element, its list's.
        place: id of the place in an answer that it stands for.
        is_repeated: within a repeated part of a structural tag, whose ends nothing marks.
        is_note: said about something else.

    """

    value: Any
    key: str = ""
    place: int = 0
    is_repeated: bool = False
    is_note: bool = False


class _Judgement(NamedTuple):
    """What is wrong with an expression, and what reading it adds to the work."""

    fault: str | None
    work: int = 0


@dataclass(slots=True)
class Look:
    """One look at all the grammars of a request, level by level, never recursing."""

    bounds: SchemaConfig
    values: int = 0
    characters: int = 0
    fixed: int = 0
    work: int = 0
    references: int = 0
    read: dict[tuple[str, str], _Judgement] = field(default_factory=dict)
    places: TextPlaces = field(default_factory=TextPlaces)

    def fault(self, grammar: Any) -> Steps[str | None]:
        level = [_Node(grammar)]
        for number in range(1, self.bounds.levels + 1):
            inner: list[_Node] = []
            for i, node in enumerate(level):
                if i % PIECE == PIECE - 1:
                    yield
                wrong = self._node_fault(node, number)
                if wrong is not None:
                    return wrong
                if not isinstance(node.value, str):
                    inner += self._inner(node)
            if self.references * number > MAX_REFERRED_LEVELS:
                return "holds too many references for its levels"
            if not inner:
                return self._texts_fault()
            level = inner
        return _over("is nested too deep", self.bounds, "levels")

    def _sum_fault(self) -> str | None:
        bounds = self.bounds
        if self.values > bounds.values:
            return _over("holds too many values", bounds, "values")
        if self.characters > bounds.characters:
            return _over("holds too many characters", bounds, "characters")
        if self.fixed > bounds.fixed_characters:
            what = "has too many characters of names, constants and choices"
            return _over(what, bounds, "fixed_characters")
        if self.work > bounds.work:
            return _over("is too much to read (values times levels)", bounds, "work")
        return None

    def _texts_fault(self) -> str | None:
        if self.places.most() <= self.bounds.texts:
            return None
        what = "has too many texts or arrays of different bounds that may stand in one place"
        return _over(what, self.bounds, "texts")

    def _node_fault(self, node: _Node, level: int) -> str | None:
        value = node.value
        if isinstance(value, str):
            return self._text_fault(value, node)
        if isinstance(value, (dict, list)):
            self.values += len(value)
            # Deep ones are read again for each level around them.
            self.work += len(value) * max(level, level * level // 10)
        wrong = self._sum_fault()
        if wrong is None and isinstance(value, dict) and not node.is_note:
            return self._schema_fault(value, node) or self._sum_fault()
        return wrong

    def _text_fault(self, text: str, node: _Node) -> str | None:
        self.characters += len(text)
        if self.characters > self.bounds.characters:
            return self._sum_fault()
        if "\0" in text:
            return "holds a NUL character"
        if node.is_note or node.key not in FIXED:
            return None
        return self._fixed_fault(text)

    def _fixed_fault(self, text: str) -> str | None:
        self.fixed += len(text)
        if self.fixed > self.bounds.fixed_characters:
            return self._sum_fault()
        if len(text) > self.bounds.longest_text:
            return _over("has a text that is too long", self.bounds, "longest_text")
        return None

    def _schema_fault(self, schema: dict[str, Any], node: _Node) -> str | None:
        self.references += "$ref" in schema
        self.characters += sum(map(len, schema))
        self._weigh(schema)
        self.places.note(schema, node.place)
        return (
            part_fault(schema, is_repeated=node.is_repeated)
            or self._properties_fault(schema)
            or self._expressions_fault(schema)
        )

    def _weigh(self, schema: dict[str, Any]) -> None:
        for name in NUMBERS & schema.keys():
            self.work += 10 * len(str(schema[name]))
        self.work += 250 if isinstance(schema.get("format"), str) else 0
        properties = schema.get("properties")
        if not isinstance(properties, dict):
            return
        counts = [schema.get(x) for x in ("minProperties", "maxProperties")]
        most = max((x for x in counts if x is not None and is_whole(x)), default=0)
        if most > 0:
            self.work += 12 * len(properties) * min(most, len(properties))

    def _properties_fault(self, schema: dict[str, Any]) -> str | None:
        properties = schema.get("properties")
        if not isinstance(properties, dict):
            return None
        required = schema.get("required")
        names = required if isinstance(required, list) else []
        needed = {x for x in names if isinstance(x, str)}
        if len(properties.keys() - needed) > self.bounds.optional:
            what = "has an object of too many properties that may be left out"
            return _over(what, self.bounds, "optional")
        return next(filter(None, map(self._fixed_fault, properties)), None)

    # -- regular expressions and grammars --------------------------------------

    def _expressions_fault(self, schema: dict[str, Any]) -> str | None:
        if self.bounds.any_grammar:
            return None
        named = schema.get("patternProperties")
        patterns = [schema.get(x) for x in ("pattern", "regex", "whitespace_pattern")]
        for pattern in [*patterns, *(named if isinstance(named, dict) else ())]:
            if isinstance(pattern, str):
                wrong = self._expression_fault("regular expression", pattern, read_regex)
                if wrong is not None:
                    return wrong
        grammar = schema.get("grammar")
        if isinstance(grammar, str):
            return self._expression_fault("grammar", grammar, read_ebnf)
        return None

    def _expression_fault(
        self, what: str, text: str, read: Callable[[str], Expression]
    ) -> str | None:
        # The engine reads each of them, those that are alike as well.
        self.work += 2 * len(text)
        if self.work > self.bounds.work:
            return None
        if read is read_regex and len(text) > self.bounds.longest_text:
            return _over(f"has a {what} that is too long", self.bounds, "longest_text")
        known = self.read.get((what, text))
        if known is None:
            known = self.read[what, text] = self._judged(what, text, read)
        self.work += known.work
        return known.fault

    def _judged(self, what: str, text: str, read: Callable[[str], Expression]) -> _Judgement:
        try:
            expression = read(text)
        except Unreadable:
            how = " (recursive ones are not taken)" if read is read_ebnf else ""
            return _Judgement(f"has a {what} that is too large or cannot be read here{how}")
        return _Judgement(self._shape_fault(what, expression), 12 * expression.root.size + 40)

    def _shape_fault(self, what: str, expression: Expression) -> str | None:
        bounds, choices = self.bounds, expression.choices
        if expression.is_endless:
            return f"has a {what} with a repeated part of which nobody can tell where it ends"
        if expression.root.size * max(1, choices) > bounds.size:
            return _over(f"has a {what} of too many characters times choices", bounds, "size")
        if choices > bounds.choices:
            return _over(f"has a {what} with too many choices", bounds, "choices")
        if expression.borders > bounds.borders:
            what = f"has a {what} whose repetitions pass into one another too often"
            return _over(what, bounds, "borders")
        return None

    # -- going down ------------------------------------------------------------

    def _inner(self, node: _Node) -> list[_Node]:
        value, note = node.value, node.is_note
        if isinstance(value, list):
            place = self.places.inside(node.place, node.key, is_list=True)
            return [
                _Node(x, node.key, place, node.is_repeated, note)
                for x in value
                if isinstance(x, LOOKED_INTO)
            ]
        if not isinstance(value, dict):
            return []
        is_repeated = repeats(value, was=node.is_repeated)
        return [
            _Node(
                unpacked(inner),
                str(key),
                self.places.inside(node.place, key, is_list=isinstance(inner, list)),
                is_repeated,
                # A property may have any name.
                note or (key in NOTES and node.key != "properties"),
            )
            for key, inner in value.items()
            if isinstance(inner, LOOKED_INTO)
        ]
