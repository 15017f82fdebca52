"""Names that clients use for models: `gpt-*`, `claude-*-haiku*`, and the lanes behind them.

Coding clients ask for the models that their makers sell. An alias says what serves such a
name here: a lane, or `auto`. Exact names come before patterns, and patterns in the order
in which they are given, so that the special one stands above the general one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

AUTO = "auto"
"""The name by which a client leaves the choice of a lane to the router."""

MAX_NAME_CHARS = 256
"""A longer name is no alias: matching is the work of each request."""

_WILD = frozenset("*?[")


def is_pattern(name: str) -> bool:
    """Return whether an alias stands for several names."""
    return not _WILD.isdisjoint(name)


@dataclass(frozen=True, slots=True)
class Aliases:
    """A fleet's aliases, each with what it leads to: a lane's name, or `auto`.

    Names are compared without regard to case.

    Attributes:
        targets: as they are given, exact names and patterns together.
        listed: exact names that a list of models shows.

    """

    targets: Mapping[str, str] = field(default_factory=dict)
    listed: tuple[str, ...] = ()
    _exact: Mapping[str, str] = field(init=False, repr=False)
    _patterns: tuple[tuple[str, str], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        folded = [(name.casefold(), target) for name, target in self.targets.items()]
        exact = {name: target for name, target in folded if not is_pattern(name)}
        object.__setattr__(self, "_exact", exact)
        patterns = tuple(pair for pair in folded if is_pattern(pair[0]))
        object.__setattr__(self, "_patterns", patterns)

    def find(self, name: str) -> str | None:
        """Return what a name leads to, or None for one that is no alias."""
        if len(name) > MAX_NAME_CHARS:
            return None
        folded = name.casefold()
        exact = self._exact.get(folded)
        if exact is not None:
            return exact
        return next((x for pattern, x in self._patterns if fnmatchcase(folded, pattern)), None)
