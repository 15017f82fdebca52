"""F1 of tool calls: the right tool, and the right tool with the right arguments.

Calls are compared as a syntax tree would be, not as text: arguments are read as JSON and brought
into one form, in which equal calls are equal keys. The calls of an answer are a multiset, so the
order of parallel calls counts for nothing, and each expected call is met by one call at most.

- Numbers are equal by value: `1`, `1.0` and `1e0` are one. A number is no text, and no truth value.
- The order of an object's keys counts for nothing; the order of a list counts.
- An optional argument that is left out is its default, where the tool's schema names one.
- Texts are equal character by character, but for the arguments that a case says to fold: there
  case, compatibility forms of Unicode and runs of white space count for nothing.

Arguments that are no JSON object equal nothing, themselves included.

F1 is 2 R / (M + W) of R right calls, M made and W wanted ones. *Micro* adds the counts of all
cases up first, *macro* is the mean over tools, so that a rare tool counts as much as a common
one. Cases in which no call is made and none is wanted do not show in either.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

RARE_SHARE = 0.05
"""A tool with at most this share of the wanted calls is rare (a choice of this project)."""

MAX_DEFAULTS_DEPTH = 16


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call as its model made it; `arguments` is the JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Counts:
    """Calls that were right, that were made, and that were wanted."""

    right: int = 0
    made: int = 0
    wanted: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.right + other.right, self.made + other.made, self.wanted + other.wanted)

    @property
    def f1(self) -> float | None:
        """In [0, 1]; None: no call was made, and none was wanted."""
        calls = self.made + self.wanted
        return 2 * self.right / calls if calls else None


@dataclass(frozen=True, slots=True)
class CallScore:
    """What the calls of one answer are worth.

    Attributes:
        selection: by the tools' names alone.
        calls: by name and arguments.
        selection_by_tool, calls_by_tool: the same, of each tool.

    """

    selection: Counts = field(default_factory=Counts)
    calls: Counts = field(default_factory=Counts)
    selection_by_tool: Mapping[str, Counts] = field(default_factory=dict)
    calls_by_tool: Mapping[str, Counts] = field(default_factory=dict)


def calls_of(rows: Iterable[Mapping[str, Any]]) -> tuple[ToolCall, ...]:
    """Read calls: `{name, arguments}`, or OpenAI's form with a `function` around them.

    Raises ValueError for a row that is neither.
    """
    return tuple(_call_of(row) for row in rows)


def _call_of(row: Mapping[str, Any]) -> ToolCall:
    inner = row.get("function", row)
    name = inner.get("name") if isinstance(inner, Mapping) else None
    if not isinstance(name, str) or not name:
        raise ValueError("a call needs a 'name' and 'arguments'")
    arguments = inner.get("arguments")
    if isinstance(arguments, str):
        return ToolCall(name, arguments)
    return ToolCall(name, json.dumps({} if arguments is None else arguments, ensure_ascii=False))


def schemas_of(body: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return each offered tool's schema of parameters, in any of the APIs' forms."""
    found: dict[str, Mapping[str, Any]] = {}
    tools = body.get("tools")
    for tool in tools if isinstance(tools, Sequence) and not isinstance(tools, str) else ():
        if not isinstance(tool, Mapping):
            continue
        inner = tool.get("function", tool)
        if isinstance(inner, Mapping) and isinstance(inner.get("name"), str):
            schema = inner.get("parameters", inner.get("input_schema"))
            found[inner["name"]] = schema if isinstance(schema, Mapping) else {}
    return found


def score_calls(
    made: Sequence[ToolCall],
    wanted: Sequence[ToolCall],
    schemas: Mapping[str, Mapping[str, Any]],
    folded: frozenset[str] = frozenset(),
) -> CallScore:
    """Compare the calls of one answer with the wanted ones.

    Args:
        made: by the candidate, in any order.
        wanted: by the case.
        schemas: of the tools' parameters, by name (`schemas_of`).
        folded: names of arguments whose texts are folded before they are compared.

    """
    names = (Counter(x.name for x in made), Counter(x.name for x in wanted))
    keys = (_keys(made, schemas, folded), _keys(wanted, schemas, folded))
    tools = sorted(names[0].keys() | names[1].keys())
    selection, calls = {}, {}
    for tool in tools:
        counts = names[0][tool], names[1][tool]
        same = sum(min(count, keys[1][key]) for key, count in keys[0].items() if key[0] == tool)
        selection[tool] = Counts(min(counts), *counts)
        calls[tool] = Counts(same, *counts)
    return CallScore(added(selection.values()), added(calls.values()), selection, calls)


def best_score(
    made: Sequence[ToolCall],
    alternatives: Sequence[Sequence[ToolCall]],
    schemas: Mapping[str, Mapping[str, Any]],
    folded: frozenset[str] = frozenset(),
) -> CallScore:
    """Return the score against the alternative that the answer is nearest to."""
    found = [score_calls(made, wanted, schemas, folded) for wanted in alternatives]
    return max(found, key=lambda x: (_whole(x.calls), _whole(x.selection)))


def _whole(counts: Counts) -> float:
    return 1.0 if counts.f1 is None else counts.f1


def added(counts: Iterable[Counts]) -> Counts:
    """Add counts up."""
    return sum(counts, Counts())


def by_tool(scores: Iterable[Mapping[str, Counts]]) -> dict[str, Counts]:
    """Add the counts of each tool up over all cases."""
    found: dict[str, Counts] = {}
    for score in scores:
        for tool, counts in score.items():
            found[tool] = found.get(tool, Counts()) + counts
    return found


def macro_f1(tools: Mapping[str, Counts]) -> float | None:
    """Return the mean F1 over tools; None: no tool was called, and none should have been."""
    found = [counts.f1 for counts in tools.values() if counts.f1 is not None]
    return sum(found) / len(found) if found else None


def rare_tools(tools: Mapping[str, Counts], share: float = RARE_SHARE) -> frozenset[str]:
    """Return the tools that are wanted, and in at most this share of all wanted calls."""
    wanted = sum(counts.wanted for counts in tools.values())
    return frozenset(tool for tool, counts in tools.items() if 0 < counts.wanted <= share * wanted)


def is_readable(call: ToolCall) -> bool:
    """Return whether the arguments are a JSON object."""
    return isinstance(_read(call.arguments), dict)


def _keys(
    calls: Sequence[ToolCall], schemas: Mapping[str, Mapping[str, Any]], folded: frozenset[str]
) -> Counter[tuple[str, Hashable]]:
    found: Counter[tuple[str, Hashable]] = Counter()
    for call in calls:
        arguments = _read(call.arguments)
        if isinstance(arguments, dict):
            arguments = _with_defaults(arguments, schemas.get(call.name, {}), 0)
            key = tuple(
                (name, _form(value, folds=name in folded))
                for name, value in sorted(arguments.items())
            )
            found[call.name, key] += 1
    return found


def _read(text: str) -> Any:
    """Read JSON with exact numbers; None for what is no JSON, `NaN` and `Infinity` among it."""
    try:
        # Both kinds as Decimal: 1 and 1.0 are the same then, and no exponent takes memory.
        return json.loads(
            text or "{}", parse_int=Decimal, parse_float=Decimal, parse_constant=_no_constant
        )
    except (ValueError, ArithmeticError, RecursionError):
        return None


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _with_defaults(value: Any, schema: Any, depth: int) -> Any:
    """Put in the defaults of what is left out, of objects within objects as well."""
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(value, dict) or not isinstance(properties, Mapping):
        return value
    if depth == MAX_DEFAULTS_DEPTH:
        return value
    filled = dict(value)
    for name, part in properties.items():
        if name in filled:
            filled[name] = _with_defaults(filled[name], part, depth + 1)
        elif isinstance(part, Mapping) and "default" in part:
            filled[name] = _read(json.dumps(part["default"]))
    return filled


def _form(value: Any, *, folds: bool) -> Hashable:
    """Bring a value into a form that can be hashed; the first part tells the kinds apart."""
    if isinstance(value, str):
        return "text", _folded(value) if folds else value
    if isinstance(value, Decimal):
        return "number", value
    if isinstance(value, list):
        return "list", tuple(_form(x, folds=folds) for x in value)
    if isinstance(value, dict):
        return "object", tuple((k, _form(v, folds=folds)) for k, v in sorted(value.items()))
    return "constant", value


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
