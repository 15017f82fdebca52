"""Calls of a stream: what is valid passes byte for byte, what is not is never delivered."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.agents.forms import form_of
from serve_app.agents.forms.form import MadeCall
from serve_app.agents.gate import Gate
from serve_app.agents.schemas import Schemas
from serve_app.agents.tools import tools_of
from serve_app.agents.verdict import CallOutcome
from tests.unit.serve_app.agents.answers import (
    CHAT,
    MESSAGES,
    PATHS,
    RESPONSES,
    Answer,
    heard,
    offered,
    stream,
    whole,
)

SCHEMAS = {
    "add": {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
        "additionalProperties": False,
    },
    "list": {"type": "object", "properties": {}},
}
GOOD = ("add", ['{"a"', ": 1}"])
MADE = MadeCall((0, 0), "call_new", "add", '{"a": 7}')
CALLS_REASON = {CHAT: "tool_calls", MESSAGES: "tool_use", RESPONSES: "completed"}

BAD = {
    CallOutcome.NOT_JSON: ("add", ['{"a": ', "1"]),
    CallOutcome.NOT_OBJECT: ("add", ["[1]"]),
    CallOutcome.SCHEMA: ("add", ['{"a": "x"}']),
    CallOutcome.UNKNOWN_TOOL: ("sub", ['{"a": 1}']),
}


def gate(path: str, *, holds: bool = True, **more: Any) -> Gate:
    form, tools = form_of(path), tools_of(offered(path, SCHEMAS, **more), path)
    assert form is not None and tools is not None
    return Gate(form, tools, Schemas(), holds=holds)


def through(gated: Gate, events: list[bytes], mend: MadeCall | None = MADE) -> bytes:
    """What a client gets, every fault mended alike."""
    out = b"".join(map(gated.feed, events))
    for fault in list(gated.faults):
        gated.mend(fault, [] if mend is None else [mend])
    return out + gated.rest()


calls = st.lists(
    st.one_of(
        st.integers(-5, 10**6).map(lambda a: ("add", [f'{{"a": {a}}}'])),
        st.sampled_from([GOOD, ("list", []), ("list", ["{}"])]),
    ),
    max_size=3,
)
words = st.lists(
    st.sampled_from(["a", " <", "b> ", "{", '"name"', "[TOOL", "<tool_", "x"]), max_size=6
)


@pytest.mark.parametrize("path", PATHS)
@given(text=words, made=calls, data=st.data())
def test_a_valid_stream_passes_byte_for_byte_however_it_is_cut(
    path: str, text: list[str], made: list[tuple[str, list[str]]], data: st.DataObject
) -> None:
    answer = Answer(text, made) if made or "".join(text).strip() else Answer(["word"])
    events = stream(path, answer)
    chunks, rest = [], list(events)
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        chunks.append(b"".join(rest[:size]))
        del rest[:size]
    gated = gate(path)
    assert b"".join(map(gated.feed, chunks)) == b"".join(events)
    assert not gated.faults and gated.rest() == b""
    assert gated.outcomes == [CallOutcome.VALID] * len(made)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("outcome", BAD)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_invalid_call_is_held_and_comes_mended_in_its_place(
    path: str, outcome: CallOutcome, place: int
) -> None:
    made = [GOOD, GOOD]
    made.insert(place, BAD[outcome])
    gated = gate(path)
    events = stream(path, Answer(["Well."], made))
    before = b"".join(map(gated.feed, events))
    assert [name for name, _ in heard(path, before).made] == ["add"] * place
    assert [fault.verdict.outcome for fault in gated.faults] == [outcome]
    assert gated.faults[0].name == (None if outcome is CallOutcome.UNKNOWN_TOOL else "add")
    gated.mend(gated.faults[0], [MADE])
    found = heard(path, before + gated.rest())
    expected = [("add", '{"a": 1}')] * 2
    expected.insert(place, ("add", '{"a": 7}'))
    assert found.made == expected
    assert list(found.ids.values()) == ["call_0", "call_1", "call_2"]
    assert (found.text, found.reason) == ("Well.", CALLS_REASON[path])


@pytest.mark.parametrize("path", PATHS)
def test_a_call_that_cannot_be_mended_is_left_out(path: str) -> None:
    events = stream(path, Answer([], [GOOD, BAD[CallOutcome.SCHEMA]]))
    assert heard(path, through(gate(path), events, None)).made == [("add", '{"a": 1}')]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "text",
    [
        ["Well. ", "<tool", '_call>\n{"name": "add", ', '"arguments": {"a": 1}}\n</tool_call>'],
        ['Well. <tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'],
        ["Well. ", "[TOOL", '_CALLS][{"name": "add", "arguments": {"a": 1}}]'],
        ["Well. ", "<function=add>", "<parameter=a>1</parameter></function>"],
        ["Well. ", "{", '"name"', ': "add", "para', 'meters": {"a": 1}}'],
        ['Well. {"name": "add", "arguments": {"a": 1}}'],
        ['Well. {"name": "add", "arguments": [1]}'],
    ],
)
def test_a_call_left_in_the_text_is_made(path: str, text: list[str]) -> None:
    gated = gate(path)
    out = through(gated, stream(path, Answer(text)))
    assert gated.outcomes == [CallOutcome.IN_TEXT]
    found = heard(path, out)
    assert (found.text, found.made) == ("Well. ", [("add", '{"a": 7}')])
    assert found.reason == CALLS_REASON[path]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("is_whole", [False, True])
def test_several_calls_left_in_the_text_are_all_made(path: str, is_whole: bool) -> None:
    call = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
    answer = Answer(["Well. ", call, "\n", call])
    gated = gate(path)
    made = [MADE, MadeCall((0, 1), "call_other", "add", '{"a": 8}')]
    if is_whole:
        gated.read_whole(whole(path, answer))
    before = b"" if is_whole else b"".join(map(gated.feed, stream(path, answer)))
    (fault,) = gated.faults
    assert fault.name is None and fault.may_be_many
    gated.mend(fault, made)
    form = form_of(path)
    assert form is not None
    if is_whole:
        calls = form.whole_calls(gated.whole(whole(path, answer)))
        found = [(x.name, x.arguments) for x in calls]
    else:
        found = heard(path, before + gated.rest()).made
    assert [(name, orjson.loads(text)) for name, text in found] == [
        ("add", {"a": 7}),
        ("add", {"a": 8}),
    ]


@pytest.mark.parametrize("path", PATHS)
def test_of_several_calls_left_in_the_text_one_is_made_where_one_is_allowed(path: str) -> None:
    more: dict[str, Any] = {"parallel_tool_calls": False}
    if path == MESSAGES:
        more = {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}
    call = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
    gated = gate(path, **more)
    assert b"tool_call" not in b"".join(map(gated.feed, stream(path, Answer([call, call]))))
    (fault,) = gated.faults
    assert fault.name == "add" and not fault.may_be_many


@pytest.mark.parametrize("path", PATHS)
def test_llamas_bare_call_is_found(path: str) -> None:
    gated = gate(path)
    text = ['{"', 'name": ', '"add", "parameters": {"a"', ": 1}}"]
    found = heard(path, through(gated, stream(path, Answer(text))))
    assert gated.outcomes == [CallOutcome.IN_TEXT]
    assert (found.text, found.made) == ("", [("add", '{"a": 7}')])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "text",
    [
        ["A call begins with <tool_call>", " and ends with </tool_call>."],
        ['{"name": "Bob", ', '"age": 3}'],
        ["<tool_call> is a mark of ", "hermes"],
        ["[TOOL", "S] are many"],
        ["As in ", '{"name": "add"', ', "version": 1}.'],
        ["As in ", '{"name": "sub"', ', "arguments": {}}.'],
        ["Sets: ", "{", "1}, {", "}"],
    ],
)
def test_text_that_only_speaks_of_calls_passes_as_it_came(path: str, text: list[str]) -> None:
    gated = gate(path)
    events = stream(path, Answer(text))
    assert through(gated, events) == b"".join(events)
    assert not gated.outcomes


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_an_end_that_speaks_of_calls_without_any_is_a_fault(path: str) -> None:
    gated = gate(path)
    found = heard(path, through(gated, stream(path, Answer(["Now."], says_calls=True))))
    assert gated.outcomes == [CallOutcome.NO_CALL]
    assert (found.text, found.made) == ("Now.", [("add", '{"a": 7}')])


@pytest.mark.parametrize("path", PATHS)
def test_a_call_that_was_demanded_and_not_made_is_a_fault(path: str) -> None:
    choice: object = {"type": "any"} if path == MESSAGES else "required"
    gated = gate(path, tool_choice=choice)
    assert heard(path, through(gated, stream(path, Answer(["No."])))).made == [("add", '{"a": 7}')]
    assert gated.outcomes == [CallOutcome.NO_CALL]


@pytest.mark.parametrize("path", PATHS)
def test_an_empty_answer_is_a_fault_and_passes_if_nothing_mends_it(path: str) -> None:
    gated = gate(path)
    events = stream(path, Answer())
    assert through(gated, events, None) == b"".join(events)
    assert gated.outcomes == [CallOutcome.EMPTY]
