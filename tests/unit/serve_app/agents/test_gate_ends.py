"""Calls at an answer's end and in whole answers, and what is told of those that were delivered."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.agents.forms import form_of
from serve_app.agents.verdict import CallOutcome
from tests.unit.serve_app.agents.answers import (
    CHAT,
    MESSAGES,
    PATHS,
    RESPONSES,
    Answer,
    heard,
    stream,
    whole,
)
from tests.unit.serve_app.agents.test_gate import (
    BAD,
    CALLS_REASON,
    GOOD,
    MADE,
    calls,
    gate,
    through,
    words,
)


@pytest.mark.parametrize("path", PATHS)
def test_a_call_cut_short_by_the_answers_limit_is_as_the_client_asked(path: str) -> None:
    gated = gate(path)
    events = stream(path, Answer([], [GOOD, ("add", ['{"a"'])], is_short=True))
    assert through(gated, events, None) == b"".join(events)
    assert gated.outcomes == [CallOutcome.VALID, CallOutcome.CUT_SHORT]


@pytest.mark.parametrize("path", PATHS)
def test_of_calls_in_parallel_that_were_not_allowed_the_first_stands(path: str) -> None:
    more: dict[str, Any] = {"parallel_tool_calls": False}
    if path == MESSAGES:
        more = {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}
    gated = gate(path, **more)
    found = heard(path, through(gated, stream(path, Answer(["x"], [GOOD, GOOD]))))
    assert gated.outcomes == [CallOutcome.VALID, CallOutcome.TOO_MANY]
    assert found.made == [("add", '{"a": 1}')]


@pytest.mark.parametrize("path", PATHS)
@given(cut=st.integers(0, 40))
def test_a_stream_that_breaks_off_has_no_half_call(path: str, cut: int) -> None:
    events = stream(path, Answer(["Well."], [GOOD, BAD[CallOutcome.SCHEMA], GOOD]))[:cut]
    gated = gate(path)
    out = b"".join(map(gated.feed, events)) + gated.rest()
    for name, arguments in heard(path, out).made:
        assert (name, arguments) in [("add", '{"a": 1}'), ("add", '{"a": "x"}')]
    assert b'"x"' not in b"".join(map(gate(path).feed, events))


@pytest.mark.parametrize("path", PATHS)
@given(text=words, made=calls, outcome=st.sampled_from(list(BAD)))
def test_without_holding_all_passes_and_is_counted(
    path: str, text: list[str], made: list[tuple[str, list[str]]], outcome: CallOutcome
) -> None:
    gated = gate(path, holds=False)
    events = stream(path, Answer(text, [*made, BAD[outcome]]))
    assert [gated.feed(event) for event in events] == events
    assert gated.outcomes == [*[CallOutcome.VALID] * len(made), outcome]


@pytest.mark.parametrize("path", PATHS)
def test_a_call_in_place_of_an_empty_answer_is_in_the_end_of_the_stream_too(path: str) -> None:
    """`heard` compares the items of /v1/responses with those that its last event repeats."""
    found = heard(path, through(gate(path), stream(path, Answer([]))))
    assert found.made == [("add", '{"a": 7}')]
    assert found.reason == CALLS_REASON[path]


@pytest.mark.parametrize("path", PATHS)
def test_what_mending_took_is_in_the_usage(path: str) -> None:
    gated = gate(path)
    out = b"".join(map(gated.feed, stream(path, Answer([], [BAD[CallOutcome.SCHEMA]]))))
    gated.mend(gated.faults[0], [MADE])
    gated.note_usage(100, 20)
    usage = heard(path, out + gated.rest()).usage
    names = (
        ("prompt_tokens", "completion_tokens")
        if path == CHAT
        else ("input_tokens", "output_tokens")
    )
    assert [usage[name] for name in names] == [110, 25]
    assert usage.get("total_tokens", 135) == 135


@pytest.mark.parametrize("path", PATHS)
def test_a_whole_answer_is_judged_and_mended_alike(path: str) -> None:
    answer = Answer(["Well."], [GOOD, ("add", ['{"a": "x"}']), GOOD])
    body = whole(path, answer)
    gated = gate(path)
    gated.read_whole(body)
    assert [x.value for x in gated.outcomes] == ["valid", "schema", "valid"]
    gated.mend(gated.faults[0], [MADE])
    mended = gated.whole(body)
    form = form_of(path)
    assert form is not None
    found = [(call.name, orjson.loads(call.arguments)) for call in form.whole_calls(mended)]
    assert found == [("add", {"a": 1}), ("add", {"a": 7}), ("add", {"a": 1})]
    assert [call.id for call in form.whole_calls(mended)] == ["call_0", "call_1", "call_2"]
    assert dict(form.whole_texts(mended)) == {0: "Well."}


@pytest.mark.parametrize("path", PATHS)
def test_a_call_in_the_text_of_a_whole_answer_is_made(path: str) -> None:
    text = ['Well. <tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>']
    body = whole(path, Answer(text))
    gated = gate(path)
    gated.read_whole(body)
    gated.mend(gated.faults[0], [MADE])
    mended = gated.whole(body)
    form = form_of(path)
    assert form is not None
    assert [(x.name, orjson.loads(x.arguments)) for x in form.whole_calls(mended)] == [
        ("add", {"a": 7})
    ]
    assert dict(form.whole_texts(mended)) == {0: "Well. "}
    assert form.whole_finish(mended)[0][1] is (path != RESPONSES)


@pytest.mark.parametrize("path", PATHS)
def test_what_is_wrong_with_another_whole_answer_is_found(path: str) -> None:
    in_text = Answer(['<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'])
    bad = [whole(path, in_text), whole(path, Answer([], [BAD[CallOutcome.SCHEMA]]))]
    good = [
        {},
        whole(path, Answer([])),
        whole(path, Answer(["No."])),
        whole(path, Answer([], [GOOD])),
    ]
    gated = gate(path)
    assert [gated.finds_faults(answer) for answer in [*bad, *good]] == [True] * 2 + [False] * 4
    assert not gated.faults


@pytest.mark.parametrize("path", PATHS)
@given(text=words, made=calls)
def test_a_valid_whole_answer_is_the_same_object(
    path: str, text: list[str], made: list[tuple[str, list[str]]]
) -> None:
    answer = Answer(text, made) if made or "".join(text).strip() else Answer(["word"])
    body = whole(path, answer)
    gated = gate(path)
    gated.read_whole(body)
    assert gated.whole(body) is body


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("answer", "outcomes"),
    [
        (Answer(["Well."], [GOOD]), [CallOutcome.VALID]),
        (Answer([], [GOOD, BAD["schema"], GOOD]), ["valid", "schema", "valid"]),
        (Answer([], [BAD["unknown_tool"]]), ["unknown_tool"]),
        (Answer(['<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>']), ["in_text"]),
        (Answer(["Just words."]), []),
    ],
)
@pytest.mark.parametrize("is_stream", [True, False])
def test_what_was_delivered_is_told_with_the_ids_that_the_client_has(
    path: str, answer: Answer, outcomes: list[str], is_stream: bool
) -> None:
    gated = gate(path)
    if is_stream:
        told = heard(path, through(gated, stream(path, answer)))
        given = [(told.ids[at], told.calls[at][0]) for at in sorted(told.ids)]
    else:
        made = whole(path, answer)
        gated.read_whole(made)
        for fault in list(gated.faults):
            gated.mend(fault, [MADE])
        form = form_of(path)
        assert form is not None
        given = [(x.id, x.name) for x in form.whole_calls(gated.whole(made))]

    assert [(x.id, x.name) for x in gated.delivered] == given
    assert [x.outcome for x in gated.delivered] == outcomes


def test_a_further_call_that_was_dropped_is_not_delivered() -> None:
    gated = gate(CHAT, parallel_tool_calls=False)
    through(gated, stream(CHAT, Answer([], [GOOD, GOOD])))
    passing = gate(CHAT, holds=False, parallel_tool_calls=False)
    through(passing, stream(CHAT, Answer([], [GOOD, GOOD])))

    assert [x.id for x in gated.delivered] == ["call_0"]
    assert [x.id for x in passing.delivered] == ["call_0", "call_1"]
