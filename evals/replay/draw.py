"""Drawing a few hundred cases of a day's traffic, so that rare tools are among them."""

from __future__ import annotations

from random import Random

from evals.replay.cases import Case
from evals.replay.tool_f1 import Counts, added, rare_tools

KEPT = 4
"""Times as many cases as are asked for that are held while a day is read."""


class Draw:
    """Takes cases one by one and keeps some of each set of tools.

    What is held is bounded, whatever comes: where it is full, the set of tools with the most cases
    gives one of its own up. A request that was asked twice counts once.
    """

    def __init__(self, most: int, seed: int) -> None:
        """Draw at most so many cases; the same seed and cases give the same."""
        self._most = most
        self._random = Random(seed)  # noqa: S311  (nothing here is a secret)
        self._groups: dict[tuple[str, ...], list[tuple[int, Case]]] = {}
        self._asked: dict[tuple[str, ...], int] = {}
        self._wanted: dict[str, Counts] = {}
        self._digests: set[int] = set()
        self._held = 0

    def add(self, case: Case) -> None:
        """Take a case."""
        for call in case.wanted[0] if case.wanted else ():
            before = self._wanted.get(call.name, Counts())
            self._wanted[call.name] = added([before, Counts(wanted=1)])
        digest = int(case.digest[:16], 16)
        if digest in self._digests:
            return
        self._digests.add(digest)
        group = self._groups.setdefault(case.tools, [])
        self._asked[case.tools] = asked = self._asked.get(case.tools, 0) + 1
        mine = (len(self._digests), case)
        if self._held < KEPT * self._most:
            self._held += 1
            group.append(mine)
            return
        largest = max(self._groups.values(), key=len)
        at = self._random.randrange(len(largest))
        if group is not largest:
            largest.pop(at)
            group.append(mine)
        elif self._random.random() < len(group) / asked:
            group[at] = mine

    @property
    def rare(self) -> frozenset[str]:
        """The tools that are rare among the wanted calls of all cases."""
        return rare_tools(self._wanted)

    def cases(self) -> list[Case]:
        """Return the cases, of each set of tools in turn, in the order in which they came."""
        groups = [list(group) for group in self._groups.values()]
        for group in groups:
            self._random.shuffle(group)
        chosen: list[tuple[int, Case]] = []
        while len(chosen) < self._most and any(groups):
            for group in groups:
                if group and len(chosen) < self._most:
                    chosen.append(group.pop())
        return [case for _, case in sorted(chosen, key=lambda x: x[0])]
