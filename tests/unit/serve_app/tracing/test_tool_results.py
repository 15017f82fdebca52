"""Which results of tool calls a request brings, in three dialects."""

import pytest

from serve_app.tracing.tool_results import MAX_RESULTS, brought
from tests.unit.serve_app.tracing.calls import CHAT, called, result, user

MESSAGES, RESPONSES = "/v1/messages", "/v1/responses"


def chat(*messages) -> list[tuple]:
    return [tuple(x) for x in brought({"messages": list(messages)}, CHAT)]


def used(*ids):
    return {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": x, "name": "n"} for x in ids],
    }


def block(call_id, **more):
    return {"type": "tool_result", "tool_use_id": call_id, "content": "x", **more}


def test_results_of_the_newest_answer_have_its_tools_names():
    found = chat(user("go"), called("a", "b"), result("b"), result("a"))

    assert found == [("b", "look", False, 1), ("a", "look", False, 1)]


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [user("go")],
        [user("go"), called("a")],
        [user("go"), called("a"), result("a"), {"role": "assistant", "content": "done"}],
        [user("1"), called("a"), result("a"), {"role": "assistant", "content": "x"}, user("2")],
    ],
)
def test_what_an_earlier_request_brought_is_not_brought_again(messages):
    assert chat(*messages) == []


def test_only_the_newest_step_counts():
    found = chat(user("go"), called("a"), result("a"), called("b"), result("b"))

    assert [x[0] for x in found] == ["b"]


def test_steps_whose_calls_have_the_same_id_have_different_places():
    (first,) = chat(user("go"), called("x"), result("x"))
    (second,) = chat(user("go"), called("x"), result("x"), called("x"), result("x"))

    assert first[3] != second[3]


def test_a_user_may_write_behind_a_result():
    assert chat(user("go"), called("a"), result("a"), user("and hurry")) == [
        ("a", "look", False, 1)
    ]


def test_messages_say_which_tool_failed():
    body = {
        "messages": [
            user("go"),
            used("a", "b"),
            {"role": "user", "content": [block("a"), block("b", is_error=True)]},
        ]
    }

    found = brought(body, MESSAGES)

    assert [(x.call_id, x.name, x.is_error) for x in found] == [("a", "n", False), ("b", "n", True)]


def test_items_of_responses_are_calls_and_outputs():
    call = {"type": "function_call", "name": "n", "arguments": "{}"}
    output = {"type": "function_call_output", "output": "x"}
    items = [
        user("go"),
        {**call, "call_id": "old"},
        {**output, "call_id": "old"},
        {"type": "reasoning", "summary": []},
        {**call, "call_id": "a"},
        {**call, "call_id": "b"},
        {**output, "call_id": "a"},
        {**output, "call_id": "b"},
    ]

    assert [(x.call_id, x.name) for x in brought({"input": items}, RESPONSES)] == [
        ("a", "n"),
        ("b", "n"),
    ]


def test_a_result_whose_call_is_not_there_has_no_name():
    assert chat(user("go"), result("a")) == [("a", "", False, 0)]


def test_thousands_of_results_are_not_all_told():
    many = [f"c{n}" for n in range(500)]

    assert len(chat(user("go"), called(*many), *map(result, many))) == MAX_RESULTS


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": "text"},
        {"messages": [None, 3, [], {"role": ["user"]}, {"role": "tool"}]},
        {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]},
        {"messages": [{"role": "assistant", "tool_calls": 3, "content": [{"type": "tool_use"}]}]},
    ],
)
def test_it_takes_anything(body):
    for path in (CHAT, MESSAGES, RESPONSES, "/v1/completions"):
        assert all(x.name == "" for x in brought(body, path))
