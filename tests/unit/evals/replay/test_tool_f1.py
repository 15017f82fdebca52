"""Calls compared as values, and their F1."""

import json

import pytest

from evals.replay.tool_f1 import (
    Counts,
    ToolCall,
    best_score,
    by_tool,
    calls_of,
    macro_f1,
    rare_tools,
    schemas_of,
    score_calls,
)

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "default": 1},
        "units": {
            "type": "object",
            "properties": {"wind": {"type": "string", "default": "m/s"}},
        },
    },
}
SCHEMAS = {"weather": WEATHER}


def call(name="weather", **arguments):
    return ToolCall(name, json.dumps(arguments))


def is_same(one, other, folded=frozenset()) -> bool:
    return score_calls([one], [other], SCHEMAS, folded).calls.right == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}'),
        ('{"a": 1}', '{"a": 1.0}'),
        ('{"a": 100}', '{"a": 1e2}'),
        ('{"a": [1, {"b": 2}]}', '{"a": [1.0, {"b": 2.00}]}'),
        ("{}", ""),
        ('{"city": "Rome"}', '{"city": "Rome", "days": 1}'),
        ('{"units": {}}', '{"units": {"wind": "m/s"}}'),
        ('{"a": 0.1}', '{"a": 0.10}'),
    ],
)
def test_equal_values_are_one_call(one, other) -> None:
    assert is_same(ToolCall("weather", one), ToolCall("weather", other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a": 1}', '{"a": "1"}'),
        ('{"a": 1}', '{"a": true}'),
        ('{"a": null}', "{}"),
        ('{"a": [1, 2]}', '{"a": [2, 1]}'),
        ('{"city": "Rome"}', '{"city": "rome"}'),
        ('{"city": "Rome", "days": 2}', '{"city": "Rome"}'),
        ('{"a": 0.1}', '{"a": 0.1000000000000000055511151231257827}'),
        ('{"a": {}}', '{"a": []}'),
        ('{"a": 1', '{"a": 1'),
        ("[1]", "[1]"),
        ('{"a": NaN}', '{"a": NaN}'),
    ],
)
def test_other_values_are_another_call(one, other) -> None:
    """What is no JSON object is not even the same as itself."""
    assert not is_same(ToolCall("weather", one), ToolCall("weather", other))


def test_texts_are_folded_only_where_the_case_says_so() -> None:
    one, other = call(city="São  Paulo", note="a"), call(city="são paulo", note="A")

    assert not is_same(one, other)
    assert not is_same(one, other, frozenset({"city"}))
    assert is_same(one, other, frozenset({"city", "note"}))


def test_a_number_of_a_million_digits_is_compared_and_not_written_out() -> None:
    huge = ToolCall("weather", '{"a": 1e999999}')

    assert is_same(huge, ToolCall("weather", '{"a": 10e999998}'))
    assert not is_same(huge, ToolCall("weather", '{"a": 1e999998}'))


def test_arguments_nested_without_end_are_unreadable_and_no_crash() -> None:
    deep = ToolCall("weather", '{"a":' + "[" * 100_000 + "]" * 100_000 + "}")

    assert not is_same(deep, deep)


def test_each_wanted_call_is_met_once() -> None:
    """The right tool twice, one of them with the right argument."""
    found = score_calls([call(city="Rome"), call(city="Oslo")], [call(city="Rome")], SCHEMAS)

    assert found.selection == Counts(1, 2, 1)
    assert found.calls == Counts(1, 2, 1)
    assert found.calls.f1 == pytest.approx(2 / 3)


def test_the_right_tool_with_wrong_arguments_counts_for_selection_alone() -> None:
    found = score_calls([call(city="Oslo")], [call(city="Rome")], SCHEMAS)

    assert (found.selection.f1, found.calls.f1) == (1.0, 0.0)


def test_a_call_where_none_is_wanted_is_wrong_and_none_is_right() -> None:
    assert score_calls([call()], [], SCHEMAS).calls == Counts(0, 1, 0)
    assert score_calls([], [], SCHEMAS).calls.f1 is None


def test_the_nearest_of_several_right_answers_counts() -> None:
    found = best_score([call(city="Oslo")], [[call(city="Rome")], [call(city="Oslo")]], SCHEMAS)

    assert found.calls.f1 == 1.0


def test_rare_tools_show_in_the_macro_mean_that_the_micro_mean_hides() -> None:
    """Ninety-nine right calls of one tool and one wrong call of another."""
    common = [score_calls([call("find")], [call("find")], {})] * 99
    rare = [score_calls([call("find")], [call("refund")], {})]

    tools = by_tool(x.selection_by_tool for x in [*common, *rare])

    assert sum(tools.values(), Counts()).f1 == pytest.approx(0.99)
    assert macro_f1(tools) == pytest.approx(0.4975, abs=1e-3)
    assert rare_tools(tools) == {"refund"}


def test_calls_and_schemas_are_read_in_the_apis_forms() -> None:
    openai = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}

    assert calls_of([openai, {"name": "g", "arguments": {"b": 2}}, {"name": "h"}]) == (
        ToolCall("f", '{"a": 1}'),
        ToolCall("g", '{"b": 2}'),
        ToolCall("h", "{}"),
    )
    assert schemas_of(
        {
            "tools": [
                {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}},
                {"name": "g", "input_schema": {"title": "G"}},
                {"type": "web_search"},
                "nonsense",
            ]
        }
    ) == {"f": {"type": "object"}, "g": {"title": "G"}}


@pytest.mark.parametrize("row", [{"arguments": {}}, {"name": 3}, {"function": "f"}])
def test_a_call_without_a_name_is_refused(row) -> None:
    with pytest.raises(ValueError, match="needs a 'name'"):
        calls_of([row])
