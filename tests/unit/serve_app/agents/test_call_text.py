"""Text that has the shape of a call."""

from __future__ import annotations

import pytest

from serve_app.agents.call_text import TextWatch
from serve_app.agents.tools import Tools

TOOLS = Tools({"weather": {}, "now": {}})
CALL = '{"name": "weather", "parameters": {"city": "Bern"}}'


def called_in(text):
    """What the watch says of a text that it gets at once."""
    watch = TextWatch(TOOLS)
    watch.feed(text)
    return watch.called()


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (CALL, ""),
        (f"Let me look.\n{CALL}", "Let me look.\n"),
        (f"Let me look.\n[{CALL}]", "Let me look.\n["),
        (f"```json\n{CALL}\n```", "```json\n"),
        (CALL.replace("parameters", "arguments"), ""),
        ('So: {\n "type": "function",\n "name": "weather",\n "parameters": {}}', "So: "),
        ('<|python_tag|>weather.call(city="Bern")', ""),
        ("<tool_call>\n<function = weather>\n<parameter = city>\nBern", ""),
    ],
)
def test_a_call_is_found_wherever_it_begins(text, kept):
    assert called_in(text) == (kept, ["weather"])


@pytest.mark.parametrize(
    "text",
    [
        'The file has {"name": "weather", "port": 80} in it.',
        'It has {"name": "other", "parameters": {}} in it.',
        'It has {"name": "weath',
        "Use {name} or {} here.",
        "if (x) { return {a: 1} }",
        "The mark <tool_call> begins a call.",
    ],
)
def test_other_text_is_none(text):
    assert called_in(text) is None


def held_by_character(text):
    watch = TextWatch(TOOLS)
    held = [watch.feed(character) for character in text]
    return watch, held


def test_text_waits_only_while_it_may_be_a_call():
    text = 'So { "name" : "weather", "port": 80} is it.'
    watch, held = held_by_character(text)
    first, last = text.index("{"), text.index("ort")
    assert [at for at, waits in enumerate(held) if waits] == list(range(first, last))
    assert watch.called() is None


def test_a_brace_in_code_waits_for_one_character():
    _, held = held_by_character("f() {\n  return 1\n}")
    assert sum(held) == len("{\n  ")


def test_a_call_within_text_is_held_from_its_brace():
    watch, held = held_by_character(f"Let me look. {CALL} Done.")
    assert not any(held[:13]) and all(held[13:])
    assert watch.called() == ("", ["weather"])
