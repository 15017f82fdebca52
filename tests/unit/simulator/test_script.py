"""Scripts of the simulated engine: which answer they give, and what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.script.answer import Answer, ToolCall, answer_of
from simulator.script.conversation import read_chat, read_messages, read_responses
from simulator.script.deltas import put_together, tokens_of, whole_calls
from simulator.script.model import Fault, Script, ScriptError, load_script

SCHEMA = {
    "type": "object",
    "properties": {"command": {"type": "string"}, "timeout": {"type": "integer"}},
    "required": ["command"],
    "additionalProperties": False,
}
OFFERED = [{"type": "function", "function": {"name": "bash", "parameters": SCHEMA}}]
CALLED = {"tool_calls": [{"id": "1", "function": {"name": "bash", "arguments": "{}"}}]}


def script(*steps: dict[str, Any], **members: Any) -> Script:
    return Script.model_validate({"turns": [{"steps": list(steps)}], **members})


def one_call(**members: Any) -> Script:
    return script({"text": "I look.", "calls": [{"bash": {"command": "ls"}}]}, **members)


def asked(*more: dict[str, Any], **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "hi"}, *more]
    return {"messages": messages, "tools": OFFERED, **fields}


def answer(made: Script, body: dict[str, Any], seed: str = "") -> Answer:
    found = answer_of(made, read_chat(body), seed)
    assert found is not None
    return found


# -- reading a script --------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("turns: []", "turns: List should have at least 1 item"),
        ("turns: [{steps: [{txt: a}]}]", "turns.0.steps.0.txt: Extra inputs are not permitted"),
        ("turns: [{steps: [{text: a, fault: odd}]}]", "turns.0.steps.0.fault: Input should be"),
        ("turns: [{steps: [{text: '${who}'}]}]", "${who} is not in `let`"),
        ("turns: [{steps: [{text: a, when: {user: '('}}]}]", "is no regular expression"),
        ("turns: [{steps: [{text: a, when: {user: b}}]}]", "every step has a condition"),
        ("let: {a: b}\nturns: [{steps: [{text: a}]}]", "one group is needed"),
        ("turns: [{steps: [{calls: [{}]}]}]", "turns.0.steps.0.calls.0"),
        ("corrupt: 2\nturns: [{steps: [{text: a}]}]", "corrupt: Input should be less than"),
        ("turns: 1\nturns: 2", "given twice, in lines 1 and 2"),
        ("turns: [", "while parsing"),
    ],
)
def test_a_script_that_is_wrong_says_where(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "script.yaml"
    path.write_text(text)
    with pytest.raises(ScriptError) as caught:
        load_script(path)
    assert str(path) in str(caught.value) and told in str(caught.value)


def test_a_script_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=r"nowhere\.yaml"):
        load_script(tmp_path / "nowhere.yaml")


# -- choosing ----------------------------------------------------------------------


def test_steps_are_counted_from_what_the_user_said_last() -> None:
    made = script({"text": "one"}, {"text": "two"}, {"text": "three"})
    call = {"role": "assistant", **CALLED}
    result = {"role": "tool", "tool_call_id": "1", "content": "out"}
    assert answer(made, asked()).text == "one"
    assert answer(made, asked(call, result, result)).text == "two"
    assert answer(made, asked(*[call, result] * 2)).text == "three"
    assert answer(made, asked(*[call, result] * 9)).text == "three"
    talked = [{"role": "assistant", "content": "done"}, {"role": "user", "content": "more"}]
    assert answer(made, asked(call, result, *talked)).text == "one"
    assert answer(made, asked(call, result, *talked, call, result)).text == "two"


def test_the_same_conversation_is_read_alike_in_three_dialects() -> None:
    chat = asked(
        {"role": "assistant", "content": "", **CALLED},
        {"role": "tool", "tool_call_id": "1", "content": "out"},
        {"role": "tool", "tool_call_id": "2", "content": [{"type": "text", "text": "more"}]},
    )
    messages = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "bash"}]},
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "1", "content": "out"},
                    {"type": "tool_result", "content": [{"type": "text", "text": "more"}]},
                ],
            },
            {"role": "user", "content": "<system-reminder>a note</system-reminder>"},
        ],
        "tools": [{"name": "bash", "input_schema": SCHEMA}],
    }
    responses = {
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "reasoning", "content": []},
            {"type": "function_call", "call_id": "1", "name": "bash", "arguments": "{}"},
            {"type": "function_call", "call_id": "2", "name": "bash", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "out"},
            {"type": "function_call_output", "call_id": "2", "output": [{"text": "more"}]},
        ],
        "tools": [{"type": "function", "name": "bash", "parameters": SCHEMA}],
    }
    found = read_chat(chat)
    assert (found.user, found.results, found.steps) == ("hi", "out\nmore", 1)
    assert found.tools == {"bash": SCHEMA}
    assert found == read_messages(messages) == read_responses(responses)


def test_tools_within_a_namespace_have_its_name() -> None:
    inner = {"type": "function", "name": "spawn", "parameters": {}}
    tools = [{"type": "namespace", "name": "agents", "tools": [inner]}, {"type": "web_search"}]
    found = read_responses({"input": "hi", "tools": tools})
    assert list(found.tools) == ["agents__spawn"]
    assert found.namespaces == {"agents__spawn": ("agents", "spawn")}


def test_a_turn_is_chosen_by_what_the_user_said_and_by_the_tools() -> None:
    made = Script.model_validate(
        {
            "turns": [
                {"when": {"user": "^weather"}, "steps": [{"text": "rain"}]},
                {"when": {"tools": []}, "steps": [{"text": "a title"}]},
                {"when": {"tools": ["Bash", "bash"]}, "steps": [{"text": "a shell"}]},
            ]
        }
    )
    assert answer(made, {"messages": [{"role": "user", "content": "weather?"}]}).text == "rain"
    assert answer(made, {"messages": [{"role": "user", "content": "hi"}]}).text == "a title"
    assert answer(made, asked()).text == "a shell"
    other = {"type": "function", "function": {"name": "other"}}
    assert answer_of(made, read_chat(asked(tools=[other])), "") is None


def test_a_result_may_choose_the_step() -> None:
    made = script({"text": "first"}, {"when": {"result": "No such file"}, "text": "a pity"})
    result = {"role": "tool", "tool_call_id": "1", "content": "ls: No such file"}
    assert answer(made, asked()).text == "first"
    assert answer(made, asked({"role": "assistant", **CALLED}, result)).text == "a pity"


def test_variables_are_taken_from_the_user_and_then_from_results() -> None:
    call = {"bash": {"command": "ls ${folder}", "more": [{"in": "${file}"}]}}
    made = script(
        {"text": "In ${folder}: $HOME", "calls": [call]},
        let={"folder": r"folder (\S+)", "file": r"(\w+\.txt)"},
    )
    result = {"role": "tool", "content": "notes.txt"}
    body = asked({"role": "assistant", **CALLED}, result)
    body["messages"][0]["content"] = "in folder /tmp/x please"
    found = answer(made, body)
    assert found.text == "In /tmp/x: $HOME"
    given = {"command": "ls /tmp/x", "more": [{"in": "notes.txt"}]}
    assert json.loads(found.calls[0].arguments) == given


def test_the_first_name_that_is_offered_is_called() -> None:
    call = {"Bash": {"command": "a"}, "bash": {"command": "b"}}
    found = answer(script({"calls": [call, {"Read": {"path": "x"}}]}), asked())
    assert found.calls == (ToolCall("bash", '{"command":"b"}'),)


def test_what_is_demanded_is_called_or_left_to_the_engine() -> None:
    named = {"type": "function", "function": {"name": "bash"}}
    other = {"type": "function", "function": {"name": "other"}}
    made = one_call()
    assert answer(made, asked(tool_choice=named)).calls
    assert answer(made, asked(tool_choice="required")).calls
    assert not answer(made, asked(tool_choice="none")).calls
    assert answer_of(made, read_chat(asked(tool_choice=other)), "") is None
    assert answer_of(script({"text": "no"}), read_chat(asked(tool_choice="required")), "") is None


def test_one_call_is_made_where_one_is_allowed() -> None:
    call = {"bash": {"command": "ls"}}
    made = script({"calls": [call, call]})
    assert len(answer(made, asked()).calls) == 2
    assert len(answer(made, asked(parallel_tool_calls=False)).calls) == 1


def test_an_answer_goes_on_from_what_was_said() -> None:
    made = script({"reasoning": "hm", "text": "I look around."})
    begun = asked({"role": "assistant", "content": "I look"}, continue_final_message=True)
    assert answer(made, begun) == Answer(text=" around.")


# -- faults ------------------------------------------------------------------------


def _is_valid(call: ToolCall) -> bool:
    try:
        jsonschema.validate(json.loads(call.arguments), SCHEMA)
    except (ValueError, jsonschema.ValidationError):
        return False
    return call.name == "bash"


@pytest.mark.parametrize("fault", list(Fault))
def test_every_fault_is_one(fault: Fault) -> None:
    made = one_call(corrupt=1, faults=[fault])
    found = answer(made, asked(parallel_tool_calls=False))
    match fault:
        case Fault.EMPTY:
            assert found == Answer()
        case Fault.NO_CALL:
            assert found == Answer(text="I look.", says_calls=True)
        case Fault.TOO_MANY:
            assert len(found.calls) == 2 and all(map(_is_valid, found.calls))
        case Fault.IN_TEXT_HERMES:
            said = '<tool_call>\n{"name": "bash", "arguments": {"command":"ls"}}\n</tool_call>'
            assert found == Answer(text="I look." + said)
        case Fault.IN_TEXT_LLAMA:
            assert found.text.endswith('{"name": "bash", "parameters": {"command":"ls"}}')
            assert not found.calls
        case _:
            assert len(found.calls) == 1 and not _is_valid(found.calls[0])


@pytest.mark.parametrize("fault", list(Fault))
def test_a_forced_grammar_leaves_nothing_wrong(fault: Fault) -> None:
    strict = [{"type": "function", "function": {**OFFERED[0]["function"], "strict": True}}]
    named = {"type": "function", "function": {"name": "bash"}}
    forced = ({"tools": strict}, {"tool_choice": "required"}, {"tool_choice": named})
    for fields in forced:
        body = asked(parallel_tool_calls=False, **fields)
        right = answer(one_call(), body)
        assert answer(one_call(corrupt=1, faults=[fault]), body) == right
        assert answer(one_call(corrupt=1, faults=[fault], stubborn=True), body) != right


def test_a_fault_of_a_step_is_always_there_and_only_in_its_first_call() -> None:
    call = {"bash": {"command": "ls"}}
    found = answer(script({"calls": [call, call], "fault": "not_object"}), asked())
    assert [_is_valid(call) for call in found.calls] == [False, True]
    assert answer(script({"text": "a", "fault": "empty"}), asked()) == Answer()


def test_what_does_not_fit_a_call_is_not_drawn() -> None:
    loose = {"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}}}
    made = one_call(corrupt=1, faults=["missing", "extra", "wrong_type", "too_many"])
    assert answer(made, asked(tools=[loose])) == answer(one_call(), asked())


def test_the_share_is_met_and_the_same_request_goes_wrong_alike() -> None:
    made = one_call(corrupt=0.1, seed=5)
    right = answer(one_call(), asked())
    seeds = [str(number) for number in range(2000)]
    wrong = [answer(made, asked(), seed) for seed in seeds]
    assert wrong == [answer(made, asked(), seed) for seed in seeds]
    assert 150 < sum(found != right for found in wrong) < 250
    assert len({found for found in wrong if found != right}) >= 8


# -- tokens ------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(
    reasoning=TEXTS,
    text=TEXTS,
    calls=st.lists(st.tuples(st.from_regex(r"[a-z_]{1,9}", fullmatch=True), TEXTS), max_size=3),
    data=st.data(),
)
def test_the_tokens_say_all_of_an_answer(
    reasoning: str, text: str, calls: list[tuple[str, str]], data: st.DataObject
) -> None:
    said = Answer(reasoning, text, tuple(ToolCall(*call) for call in calls))
    deltas = [delta for _, delta in tokens_of(said)]
    whole = put_together(deltas)
    assert (whole.reasoning or "", whole.content or "") == (reasoning, text)
    assert tuple(whole_calls(whole)) == said.calls
    # In pieces of any length, as an engine's steps give them.
    at, entries = 0, []
    while at < len(deltas):
        upto = data.draw(st.integers(at + 1, len(deltas)))
        entries += put_together(deltas[at:upto]).calls
        at = upto
    for number, call in enumerate(said.calls):
        mine = [(name, piece) for index, name, piece in entries if index == number]
        assert mine[0] == (call.name, None)
        assert all(name is None for name, _ in mine[1:])
        assert "".join(piece or "" for _, piece in mine[1:]) == call.arguments


# -- an answer that is made again ----------------------------------------------------


def repeated(said: str, **fields: Any) -> dict[str, Any]:
    """The second step asked for anew, as a gateway does that could not use its call."""
    note = {"role": "user", "content": "That is not valid: at /command: 1 is not a string."}
    result = {"role": "tool", "tool_call_id": "1", "content": "a.txt"}
    called = {"role": "assistant", **CALLED}
    return asked(called, result, {"role": "assistant", "content": said}, note, **fields)


TWO = script(
    {"calls": [{"bash": {"command": "ls"}}]},
    {"calls": [{"bash": {"command": "cat a.txt"}}, {"bash": {"command": "wc -l b.txt"}}]},
    {"text": "Done."},
)


@pytest.mark.parametrize(
    ("said", "command"),
    [
        ('bash({"command":1, "x": "cat a.txt"})', "cat a.txt"),
        ('bash({"command":"wc -l', "wc -l b.txt"),
    ],
)
def test_a_correction_is_no_turn_and_gives_the_call_that_was_meant(said: str, command: str) -> None:
    choice = {"type": "function", "function": {"name": "bash"}}
    made = answer(TWO, repeated(said, tool_choice=choice))
    assert [json.loads(call.arguments) for call in made.calls] == [{"command": command}]


def test_a_correction_of_nothing_goes_on_with_the_step() -> None:
    body = repeated("(nothing)")
    body["messages"][-1]["content"] = "Your last answer was empty. Go on."
    assert len(answer(TWO, body).calls) == 2
