"""Cases from gold files and from traces."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from evals.replay.cases import WrongCase, gold_case, last_words, trace_case
from evals.replay.draw import Draw
from evals.replay.tool_f1 import ToolCall
from evals.traces.trace import Trace

TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]
TRACE = Trace(
    time=datetime(2026, 11, 30, tzinfo=UTC),
    request_id="r1",
    tenant="acme",
    tier="paid",
    api="/v1/chat/completions",
    body={
        "model": "auto",
        "stream": True,
        "user": "u1",
        "messages": [{"role": "user", "content": "Find it"}],
        "tools": TOOLS,
    },
    answer="",
    tool_calls=({"name": "find", "arguments": '{"q": "it"}'},),
    lane="agent",
    code="200",
)


def gold(name="1", **more):
    return gold_case({"id": name, "messages": [{"role": "user", "content": name}], **more}, "f:1")


def test_a_trace_becomes_a_case_with_what_its_lane_said() -> None:
    case = trace_case(TRACE)

    assert not isinstance(case, str)
    assert set(case.body) == {"messages", "tools"}
    assert case.wanted == ((ToolCall("find", '{"q": "it"}'),),)
    assert (case.lane, case.tools, case.source) == ("agent", ("find",), "trace")


def test_a_trace_without_tools_says_nothing_of_calls() -> None:
    body = {"messages": [{"role": "user", "content": "Hello"}]}

    case = trace_case(replace(TRACE, body=body, tool_calls=(), answer="Hi"))

    assert not isinstance(case, str)
    assert case.wanted is None
    assert case.said is not None
    assert case.said.text == "Hi"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"code": "499"}, "it was not answered"),
        ({"api": "/v1/embeddings"}, "another API"),
        ({"body": {}}, "its prompt is not in it"),
        ({"body": {"input": "x", "previous_response_id": "r"}, "api": "/v1/responses"},
         "its prompt is not in it"),
        ({"thumb": -1}, "its user said that the answer was wrong"),
        ({"answer": None, "tool_calls": ()}, "its answer was not kept"),
        ({"tool_calls": ({"name": "find", "arguments": "{"},)}, "its calls cannot be read"),
        ({"tool_calls": ({"arguments": "{}"},)}, "its calls cannot be read"),
    ],
)  # fmt: skip
def test_a_trace_that_is_no_reference_says_why(change, why) -> None:
    assert trace_case(replace(TRACE, **change)) == why


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"api": "/v1/embeddings"}, "'api' should be"),
        ({"expected": 1}, "nothing is known of 'expected'"),
        ({"messages": []}, "has no 'messages'"),
        ({"calls": [{"arguments": {}}]}, "needs a 'name'"),
        ({"calls": [{"name": "f", "arguments": "no"}]}, "should be an object"),
        ({"calls": [], "calls_any": [[]]}, "not both"),
        ({"calls_any": []}, "should be an object"),
        ({"calls": 3}, "needs a 'name'"),
    ],
)
def test_a_line_that_is_no_case_says_where_and_why(row, why) -> None:
    with pytest.raises(WrongCase, match=f"f:1: .*{why}"):
        gold_case({"messages": [{"role": "user", "content": "x"}], **row}, "f:1")


def test_a_gold_case_may_want_no_call_or_one_of_several() -> None:
    assert gold(calls=[]).wanted == ((),)
    several = gold(calls_any=[[{"name": "f"}], [{"name": "g"}]]).wanted
    assert several == ((ToolCall("f", "{}"),), (ToolCall("g", "{}"),))
    assert gold(answer=42).answers == ("42",)


def drawn(cases, most):
    draw = Draw(most, seed=1)
    for case in cases:
        draw.add(case)
    return draw


def test_rare_tools_are_drawn_before_their_share() -> None:
    common = [gold(f"c{n}", calls=[{"name": "find"}]) for n in range(50)]
    rare = [gold(f"r{n}", calls=[{"name": "refund"}]) for n in range(2)]
    every = [*common, *rare, common[0]]

    found = drawn(every, 6)

    assert [case.tools for case in found.cases()].count(("refund",)) == 2
    assert drawn(every, 6).cases() == drawn(every, 6).cases()
    assert drawn(every, 500).cases() == [*common, *rare]
    assert found.rare == {"refund"}


def test_what_is_held_while_a_day_is_read_is_bounded_and_of_the_whole_day() -> None:
    common = [gold(f"c{n}", calls=[{"name": "find"}]) for n in range(2000)]
    rare = [gold(f"r{n}", calls=[{"name": "refund"}]) for n in range(2)]

    draw = drawn([*common, *rare], 10)

    assert draw._held == 40
    found = draw.cases()
    assert (len(found), found[-2:]) == (10, rare)
    late = [int(case.name[1:]) for case in found[:-2]]
    assert max(late) > 1000


def test_the_newest_message_is_what_people_see() -> None:
    parts = [{"type": "text", "text": "look"}, {"type": "image_url"}]
    assert last_words(gold(messages=[{"role": "user", "content": parts}])) == "look"
    asked = gold_case({"api": "/v1/completions", "body": {"prompt": "abc"}, "answer": "d"}, "f:1")
    assert last_words(asked, 2) == "bc"
