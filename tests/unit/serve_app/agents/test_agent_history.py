"""Calls and results are read alike from the bodies of three dialects."""

import json

import pytest

from benchmarks.support.agent_bodies import DIALECTS
from router.agents.task import Task
from serve_app.agents.history import canonical, has_results, items_of, read_result, reading_task
from serve_app.bodies.steps import at_once

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"

TURNS = [
    [["read", {"path": "a", "line": 1}, "text"], ["read", {"line": 1, "path": "a"}, "text"]],
    [["write", {}, "é"]],
]


def read(body, path=CHAT) -> Task:
    return at_once(reading_task(body, path))


def tool_call(call_id, arguments="{}", name="f"):
    return {"id": call_id, "function": {"name": name, "arguments": arguments}}


def asks(*calls):
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def answer(call_id, content="42"):
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def user(content="go"):
    return {"role": "user", "content": content}


@pytest.mark.parametrize("path", DIALECTS)
def test_every_dialect_says_the_same(path):
    body = DIALECTS[path](TURNS)

    task = read(body, path)

    assert has_results(items_of(body, path))
    assert (task.depth, task.turn_depth) == (3, 1)
    (first,), (second,), (third,) = task.steps
    assert (first.name, first.arguments, first.result) == second[1:]
    assert (third.name, third.arguments) == ("write", "{}")
    assert (first.result.size_bytes, third.result.size_bytes) == (4, 2)


def test_calls_at_once_are_one_step():
    chat = [user(), asks(tool_call("a"), tool_call("b")), answer("b"), answer("a")]
    use = [{"type": "tool_use", "id": x, "name": "f", "input": {}} for x in "ab"]
    results = [{"type": "tool_result", "tool_use_id": x, "content": "42"} for x in "ab"]
    messages = [user(), {"role": "assistant", "content": use}, user(results)]
    items = [{"type": "function_call", "call_id": x, "name": "f", "arguments": ""} for x in "ab"]
    outputs = [{"type": "function_call_output", "call_id": x, "output": "42"} for x in "ab"]

    tasks = [
        read({"messages": chat}),
        read({"messages": messages}, MESSAGES),
        read({"input": [user(), *items, *outputs]}, RESPONSES),
    ]

    assert [task.depth for task in tasks] == [1, 1, 1]
    assert all(call.result is not None for task in tasks for call in task.steps[0])


def test_texts_beside_results_begin_no_turn():
    """Claude Code puts its reminders there."""
    use = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "a", "content": "42"}
    reminder = {"type": "text", "text": "<system-reminder>Remember.</system-reminder>"}
    said = [user(), {"role": "assistant", "content": [use]}, user([result, reminder])]

    assert read({"messages": said}, MESSAGES).turn_depth == 1


def test_a_picture_behind_a_result_begins_no_turn_but_a_text_does():
    picture = [{"type": "image_url", "image_url": {"url": "data:"}}]
    step = [asks(tool_call("a")), answer("a")]
    shown = [user(), *step, user(picture)]

    assert read({"messages": shown}).turn_depth == 1
    assert read({"messages": [*shown, user("And now?")]}).turn_depth == 0
    assert read({"messages": [*shown, {"role": "assistant"}, user(picture)]}).turn_depth == 0


def test_steps_follow_one_another_without_results_too():
    said = [user(), asks(tool_call("a")), asks(tool_call("b"))]

    assert read({"messages": said}).depth == 2


def test_the_forerunner_of_tool_calls_is_read():
    legacy = {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}
    task = read({"messages": [user(), legacy, {"role": "function", "name": "f", "content": "x"}]})

    assert task.steps[0][0].name == "f" and task.steps[0][0].result is not None


def test_custom_tools_get_a_text():
    custom = {"type": "custom_tool_call", "call_id": "a", "name": "patch", "input": "*** Begin"}
    output = {"type": "custom_tool_call_output", "call_id": "a", "output": "ok"}
    task = read({"input": [custom, output]}, RESPONSES)
    chat = asks({"id": "a", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}})

    assert task.steps[0][0].arguments == "*** Begin" and task.steps[0][0].result is not None
    assert read({"messages": [chat]}).steps[0][0].name == "patch"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a": 1, "b": {"d": [1, 2], "c": null}}', '{"b":{"c":null,"d":[1,2]},"a":1}'),
        ("{}", ""),
        ("{}", None),
        ("{}", "  "),
        ('{"a": "é"}', '{"a": "\\u00e9"}'),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ],
)
def test_arguments_that_mean_the_same_are_the_same(one, other):
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a": 1}', '{"a": 1.0}'),
        ('{"a": 1}', '{"a": "1"}'),
        ('{"a": 12345678901234567890123}', '{"a": 12345678901234567890124}'),
        ('{"a": [1, 2]}', '{"a": [2, 1]}'),
        ('{"a": tru', '{"a": true}'),
        ("{} ", "{}x"),
    ],
)
def test_arguments_that_are_written_otherwise_are_others(one, other):
    assert canonical(one) != canonical(other)


def test_arguments_that_cannot_be_read_stay_text():
    deep = "[" * 100_000
    broken = '{"path": "a'
    nested = value = []
    for _ in range(5000):
        value.append([])
        value = value[0]

    assert (canonical(broken), canonical(deep)) == (broken, deep)
    assert canonical(nested) == canonical(nested)


def test_pictures_are_part_of_a_result_and_not_of_its_size():
    text = {"type": "text", "text": "seen"}
    one, other = ([text, {"type": "image", "source": {"data": data}}] for data in "ab")

    assert read_result(one) != read_result(other)
    assert read_result(one).size_bytes == 4
    assert read_result(None).size_bytes == 0


@pytest.mark.parametrize(
    "content", ["", None, "[]", " null\n", "Error: no such file", [{"type": "text", "text": "{}"}]]
)
def test_a_result_that_brings_nothing_is_told_by_its_words(content):
    assert read_result(content).is_futile
    assert read_result("done").is_futile is False
    assert read_result("done", is_error=True).is_futile
    assert read_result("an error " * 1000).is_futile is False


def test_the_mark_of_an_error_is_read():
    use = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    block = {"type": "tool_result", "tool_use_id": "a", "content": "42", "is_error": True}
    said = [user(), {"role": "assistant", "content": [use]}, user([block])]

    assert read({"messages": said}, MESSAGES).steps[0][0].result.is_futile


NONSENSE = [None, 5, "x", [], {}, [None], [5], {"a": None}, [{"type": "tool_result"}], True]


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize("value", NONSENSE)
def test_nonsense_is_passed_over(path, value):
    names = ("role", "type", "content", "tool_calls", "call_id", "id", "output", "arguments",
             "function_call", "tool_call_id", "input", "name", "function")  # fmt: skip
    items = [user(), value]
    items += [{**asks(tool_call("a")), name: value} for name in names]
    items += [{**answer("a"), name: value} for name in names]
    items += [{"type": "function_call", name: value} for name in names]
    items += [{"type": "x_call_output", name: value} for name in names]
    items += [user([{"type": "tool_use", name: value}, {"type": "tool_result", name: value}])
              for name in names]  # fmt: skip
    items += [asks(value), asks({"function": value}), asks(tool_call(value, value, value))]
    for item in items:
        for body in ({"messages": [user(), item]}, {"input": [item, item]}):
            has_results(items_of(body, path))
            assert read(body, path).depth <= 2
    assert read({"messages": value, "input": value}, path).depth == 0


def test_routes_without_turns_have_no_task():
    assert items_of({"messages": [user()]}, "/v1/completions") == []
    assert read({"prompt": "x"}, "/v1/completions") == read({}, CHAT)


def test_a_long_conversation_is_read_in_pieces():
    turn = [["read", {"path": "x" * 400}, "y" * 2000]] * 400
    body = DIALECTS[CHAT]([turn])

    pieces = sum(1 for _ in reading_task(body, CHAT))

    assert len(json.dumps(body)) > 1_000_000
    assert pieces >= 10
