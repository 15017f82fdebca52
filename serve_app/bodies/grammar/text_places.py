"""Where in an answer texts of different bounds may stand, by a schema with alternatives.

Of `anyOf` with 32 texts of other lengths each the engine follows them all at once, token
by token; of 32 properties with such texts it follows one. The same goes for arrays of
other counts. So they are counted by place:
the names that lead to it, whatever alternatives and definitions are on the way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ALTERNATIVES = frozenset(("anyOf", "oneOf", "allOf", "elements", "tags", "type"))
"""Names that do not lead on: what is in their lists stands in the same place."""

DEFINITIONS = frozenset(("$defs", "definitions"))
TEXT_BOUNDS = ("minLength", "maxLength", "pattern", "format")
COUNT_BOUNDS = ("minItems", "maxItems", "minProperties", "maxProperties")
BOUNDS = frozenset((*TEXT_BOUNDS, *COUNT_BOUNDS))


@dataclass(slots=True)
class TextPlaces:
    """Places seen so far, as ids; 0 is the whole answer."""

    ids: dict[tuple[int, str], int] = field(default_factory=dict)
    definitions: set[int] = field(default_factory=set)
    texts: dict[int, set[tuple[str, ...]]] = field(default_factory=dict)
    has_alternatives: bool = False
    refers_anywhere: bool = False

    def inside(self, place: int, key: str, *, is_list: bool) -> int:
        """Return the id of the place that a name leads to from another."""
        if key in DEFINITIONS:
            found = self._id(0, "$defs")
            self.definitions.add(found)
            return found
        if place in self.definitions or (is_list and key in ALTERNATIVES):
            return -place if place in self.definitions else place
        return self._id(place, key)

    def note(self, schema: dict[str, Any], place: int) -> None:
        if "anyOf" in schema or "oneOf" in schema or schema.get("type") == "or":
            self.has_alternatives = True
        reference = schema.get("$ref")
        if isinstance(reference, str):
            self.refers_anywhere |= not _is_definition(reference)
        text = tuple(
            f"{x} {schema[x]}" for x in BOUNDS if isinstance(schema.get(x), (str, int, float))
        )
        if text:
            self.texts.setdefault(place, set()).add(text)

    def most(self) -> int:
        """Return how many different texts may stand in one place at most."""
        if not self.has_alternatives:
            return 0
        if self.refers_anywhere:
            return len(set().union(*self.texts.values())) if self.texts else 0
        return max(map(len, self.texts.values()), default=0)

    def _id(self, place: int, key: str) -> int:
        return self.ids.setdefault((place, key), len(self.ids) + 1)


def _is_definition(reference: str) -> bool:
    """Return whether a reference is to the whole or a definition: those share one place."""
    parts = reference.split("/")
    return reference == "#" or (len(parts) == 3 and parts[0] == "#" and parts[1] in DEFINITIONS)
