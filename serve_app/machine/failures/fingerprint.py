"""One known way for a start to fail: how its log shows it, why it happens, what mends it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from string import Formatter

LANE = "LANE"
"""Stands in a fix where the log does not say which lane it was."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A pattern of a log, and what to say where it is found.

    Attributes:
        name: what the cause is called in JSON and in tests.
        pattern: searched line by line's text; its named groups may stand in the two texts.
        cause: a sentence.
        fix: the changed line of the fleet file (`lanes.{lane}...`) or the command.

    """

    name: str
    pattern: re.Pattern[str]
    cause: str
    fix: str


def row(name: str, pattern: str, cause: str, fix: str) -> Fingerprint:
    """Make a fingerprint.

    Raises:
        ValueError: a text names a group that the pattern does not have.

    """
    compiled = re.compile(pattern)
    for text in (cause, fix):
        for _, wanted, _, _ in Formatter().parse(text):
            if wanted not in (None, "lane", *compiled.groupindex):
                raise ValueError(f"{name}: the pattern has no group '{wanted}'")
    return Fingerprint(name, compiled, cause, fix)
