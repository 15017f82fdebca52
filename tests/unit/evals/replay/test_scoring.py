"""Answers scored and summed up."""

import pytest

from evals.replay.cases import gold_case
from evals.replay.changes import changes_of, kept
from evals.replay.gate import GateVerdict
from evals.replay.judging import Judged
from evals.replay.said import Said, said_from, said_of
from evals.replay.scoring import Checks, score, summarize
from evals.replay.tool_f1 import ToolCall

NONE = Checks({}, {})


def case(name="1", **more):
    return gold_case({"id": name, "messages": [{"role": "user", "content": name}], **more}, "f:1")


def calls(*names):
    return Said(calls=tuple(ToolCall(name, "{}") for name in names))


def test_a_gold_case_without_an_incumbent_asks_for_what_is_right() -> None:
    scored = [
        score(case(str(n), calls=[{"name": "f"}]), calls("f" if n < 80 else "g"), None, NONE)
        for n in range(100)
    ]

    found = summarize(scored)

    assert found.selection.f1 == pytest.approx(0.8)
    assert found.selection_gate.incumbent == 1.0
    assert found.selection_gate.verdict is GateVerdict.FAIL
    assert found.changes is None


def test_both_lanes_are_held_to_the_same_gold() -> None:
    """The incumbent is as wrong as the candidate: nothing is lost."""
    scored = [
        score(case(str(n), calls=[{"name": "f"}]), calls("f" if n % 2 else "g"),
              calls("g" if n % 2 else "f"), NONE)
        for n in range(400)
    ]  # fmt: skip

    found = summarize(scored)

    assert (found.selection.f1, found.incumbent_selection.f1) == (0.5, 0.5)
    assert found.selection_gate.ratio is not None
    assert found.selection_gate.ratio.value == 1.0
    assert found.changes.same_share == 0.0


def test_answers_are_checked_by_what_the_case_has() -> None:
    exact = case("a", answer="Paris")
    open_one = case("b")

    by_text = score(exact, Said("It is **Paris**. The answer is Paris."), Said("Rome"), NONE)
    judged = score(open_one, Said("x"), Said("y"), Checks({}, {open_one.digest: Judged("A", "B")}))
    passed = score(open_one, Said("x"), Said("y"), Checks({open_one.digest: (1.0, 0.0)}, {}))
    tied = score(open_one, Said("same"), Said("same "), Checks({}, {}, ties=True))
    nothing = score(open_one, Said("x"), Said("y"), NONE)

    told = [(x.check, x.score, x.incumbent_score) for x in (by_text, judged, passed, tied, nothing)]
    assert told == [
        ("exact", 1.0, 0.0),
        ("judge", 1.0, 0.0),
        ("command", 1.0, 0.0),
        ("judge", 0.5, 0.5),
        ("", None, None),
    ]
    assert [x.same for x in (by_text, tied)] == [False, True]


def test_the_wrong_tool_is_worse_than_the_wrong_answer() -> None:
    tool = score(case("a", calls=[{"name": "f"}]), calls("g"), None, NONE)
    arguments = score(
        case("b", calls=[{"name": "f", "arguments": {"x": 1}}]), calls("f"), None, NONE
    )
    answer = score(case("c", answer="1"), Said("2"), Said("1"), NONE)
    fine = score(case("d", answer="1"), Said("1"), None, NONE)

    order = sorted([fine, answer, arguments, tool], key=lambda x: x.badness, reverse=True)

    assert [x.case.name for x in order] == ["a", "b", "c", "d"]
    assert not any(fine.badness)


def test_a_summary_is_json_with_every_tool_and_gate() -> None:
    one = score(
        case("a", calls=[{"name": "f"}], answer="1"), Said("1", calls("f").calls), None, NONE
    )

    told = summarize([one]).to_dict()

    assert told["tools"]["f"]["selection_f1"] == 1.0
    assert set(told["gates"]) == {"tool selection", "tool calls", "final answers"}
    assert told["judge"] is None


def test_a_run_without_cases_is_told_and_passes_nothing() -> None:
    found = summarize([])

    assert (found.gates, found.selection.f1, found.bias) == ({}, None, None)


def test_answers_are_read_in_each_apis_form() -> None:
    call = {"name": "f", "arguments": "{}"}
    choice = {"message": {"content": None, "tool_calls": [{"function": call}]}}
    chat = {"choices": [choice | {"finish_reason": "tool_calls"}]}
    blocks = [{"type": "text", "text": "a"}, {"type": "tool_use", "name": "f", "input": {}}]
    message = {"content": blocks, "stop_reason": "tool_use"}
    said = {"type": "message", "content": [{"type": "output_text", "text": "a"}]}
    response = {"output": [said, call | {"type": "function_call"}], "status": "completed"}
    wanted = (ToolCall("f", "{}"),)

    assert said_of("/v1/chat/completions", chat) == Said("", wanted, "tool_calls")
    assert said_of("/v1/messages", message) == Said("a", wanted, "tool_use")
    assert said_of("/v1/responses", response) == Said("a", wanted, "completed")
    assert said_of("/v1/completions", {"choices": [{"text": "b"}]}) == Said("b")
    with pytest.raises(ValueError, match="form of an answer"):
        said_of("/v1/chat/completions", {"choices": []})


def test_what_was_said_comes_back_from_a_file_as_it_was() -> None:
    said = Said("a", (ToolCall("f", "{"),), "stop", "m")

    assert said_from(said.to_dict()) == said


def test_what_changes_is_counted_beside_what_is_right() -> None:
    """A gate of ratios does not tell two lost and two won from nothing lost."""
    pairs = [
        (True, "Paris", "Paris", 1.0, 1.0),
        (False, "It is Rome", "It is Paris", 0.0, 1.0),
        (False, "12", "13", 1.0, 0.0),
        (False, "", "words", None, None),
    ]

    found = changes_of(pairs)

    assert (found.better, found.worse, found.same_share) == (1, 1, 0.25)
    assert found.kept_share == pytest.approx((1 + 6 / 11 + 1 / 2 + 0) / 4)
    assert changes_of([]) is None
    assert kept("", "") == 1.0
