"""Aliases: exact names before patterns, patterns in their order."""

from __future__ import annotations

import pytest

from router.routing.aliases import MAX_NAME_CHARS, Aliases, is_pattern

ALIASES = Aliases(
    {
        "claude-*": "quality",
        "claude-haiku": "chat",
        "*": "auto",
        "gpt-4o-mini": "chat",
        "gpt-?": "never",
    }
)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("claude-haiku", "chat"),
        ("Claude-Haiku", "chat"),
        ("claude-haiku-4-5", "quality"),
        ("GPT-4o-mini", "chat"),
        ("gpt-5", "auto"),
        ("x" * MAX_NAME_CHARS, "auto"),
        ("x" * (MAX_NAME_CHARS + 1), None),
    ],
)
def test_a_name_leads_to_the_first_that_fits(name: str, target: str | None) -> None:
    assert ALIASES.find(name) == target


def test_without_aliases_there_is_none() -> None:
    assert Aliases().find("gpt-5") is None


def test_what_is_a_pattern() -> None:
    assert [is_pattern(x) for x in ("gpt-*", "gpt-?", "gpt-[45]", "gpt-4o")] == [True] * 3 + [False]
