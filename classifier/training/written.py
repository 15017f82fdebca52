"""Rows made of our own phrases, for the `kind` head.

The public everyday data are two intent collections, one of a bank and one of an
assistant. A model that knows only one of them takes the other's sentences for
something else. Phrases of many more desks tell it what everyday talk has in common.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np

PHRASES = tomllib.loads(Path(__file__).with_name("phrases.toml").read_text(encoding="utf-8"))
_SLOT = re.compile(r"\{(\w+)\}")
_MANNERS = ("hi, {}", "{}, please", "Hello! {}", "{}", "{}", "{}")
_CAPITALS = 0.5
_ENDS = ("", "?", ".", "!")
SOURCES = {"easy": "written_everyday", "complex": "written_complex"}


def written_rows(count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """The distinct ones of `count` rows of each tier, templates by turns."""
    rows = {}
    for tier, templates in (("easy", PHRASES["everyday"]), ("complex", PHRASES["complex"])):
        for number in range(count):
            text = _fill(templates[number % len(templates)], rng)
            if tier == "easy":
                text = _dress(text, rng)
            rows[text] = {"text": text, "source": SOURCES[tier], "tier": tier}
    return list(rows.values())


def _fill(template: str, rng: np.random.Generator) -> str:
    def one(match: re.Match[str]) -> str:
        choices = PHRASES["slots"][match.group(1)]
        return str(choices[int(rng.integers(len(choices)))])

    return _SLOT.sub(one, template)


def _dress(text: str, rng: np.random.Generator) -> str:
    """Greeting, thanks, capitals and marks as people type them, or leave out."""
    text = _MANNERS[int(rng.integers(len(_MANNERS)))].format(text)
    if rng.random() < _CAPITALS:
        text = text[0].upper() + text[1:]
    return text + _ENDS[int(rng.integers(len(_ENDS)))]
