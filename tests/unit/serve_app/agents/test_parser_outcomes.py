"""Real parsers' outcomes, as the suite's files keep them, and what the gate makes of them."""

from __future__ import annotations

import dataclasses
import json

import pytest

from serve_app.agents.forms import form_of
from serve_app.agents.gate import Gate
from serve_app.agents.schemas import Schemas
from serve_app.agents.tools import tools_of
from serve_app.cli import main
from serve_app.commands.doctor_parsers import compared, parser_findings
from serve_app.config.settings import fleet_path, load_fleet
from serve_app.doctor.check import Result
from serve_app.engine.parsers.cases import cases_of
from serve_app.engine.parsers.forms import PARSERS, TOOLS
from serve_app.engine.parsers.outcomes import (
    MODES,
    Outcome,
    Suite,
    read_suite,
    suite_path,
    write_suite,
)
from tests.unit.serve_app.agents.answers import CHAT

OFFERED = tools_of({"tools": TOOLS}, CHAT)
SUITES = {parser: read_suite(suite_path(parser)) for parser in PARSERS}

# What the engine's answer does not show: the call or its arguments are gone without a trace.
# docs/agents.md has each of these.
UNSEEN = {
    "hermes": {
        # A stream loses what cannot be read, and the text before it looks like an answer.
        ("text before, Qwen coder's form", "streamed"),
        ("text before, Qwen coder's form", "bursts"),
    },
    "llama3_json": {
        # A stream's further calls are lost unless "; " is between them.
        ("text between", "streamed"),
        ("line break between", "streamed"),
        ("line break between", "bursts"),
        ("semicolon without space", "streamed"),
        ("semicolon without space", "bursts"),
        # A call without arguments is passed over when the next comes in the same step.
        ("without arguments first of two", "bursts"),
    },
    "mistral": {
        ("newer form, text before", "streamed"),
        # The mark's text is cut out of the argument.
        ("marks in a string", "streamed"),
    },
    "qwen3_coder": {
        # Numbers are read as floats: 12345678901234567890 becomes ...168.
        *(("integers", mode) for mode in MODES),
        ("hermes form, text before", "streamed"),
        ("hermes form, text before", "bursts"),
        # Nothing is escaped in this form, so marks in a value end it.
        *(("parameter mark in a string", mode) for mode in MODES),
        *(("end marks in a string", mode) for mode in MODES),
        *(("whole call in a string", mode) for mode in MODES),
    },
}


def judged(case, outcome):
    calls = [
        {"id": f"c{at}", "type": "function", "function": {"name": name or "", "arguments": text}}
        for at, (name, text) in enumerate(outcome.calls)
    ]
    message = {"role": "assistant", "content": outcome.content, "tool_calls": calls}
    # vLLM says `tool_calls` whenever there is one, also at the limit of tokens.
    reason = "tool_calls" if calls else "length" if case.is_cut else "stop"
    gate = Gate(form_of(CHAT), OFFERED, Schemas(), holds=True)
    gate.read_whole({"choices": [{"index": 0, "message": message, "finish_reason": reason}]})
    return gate


def is_seen(case, outcome):
    """Whether the client gets what the model meant, or the gate knows that it does not."""
    if outcome.error is not None or (case.is_cut and not outcome.calls):
        return True
    if judged(case, outcome).faults:
        return True
    return [(n, json.loads(text or "{}")) for n, text in outcome.calls] == list(case.meant)


@pytest.mark.parametrize("parser", PARSERS)
def test_the_gate_sees_what_a_real_parser_loses(parser):
    unseen = {
        (kept.case.name, mode)
        for kept in SUITES[parser].kept
        for mode in MODES
        if not is_seen(kept.case, kept.outcomes[mode]) and not kept.case.is_cut
    }
    assert unseen == UNSEEN[parser]


@pytest.mark.parametrize("parser", PARSERS[:3])
def test_of_an_answer_that_was_cut_only_whole_calls_pass(parser):
    for kept in SUITES[parser].kept:
        if kept.case.is_cut:
            assert all(is_seen(kept.case, kept.outcomes[mode]) for mode in MODES), kept.case.name


def test_qwen_s_parser_closes_calls_that_were_cut():
    """They are valid where what is missing is optional: a fault of the engine's, for now."""
    closed = {
        json.dumps(kept.outcomes["whole"].calls)
        for kept in SUITES["qwen3_coder"].kept
        if kept.case.is_cut and not is_seen(kept.case, kept.outcomes["whole"])
    }
    assert '[["weather", "{\\"city\\": \\"Rome\\"}"]]' in closed


@pytest.mark.parametrize("parser", PARSERS)
def test_answers_without_calls_are_left_alone(parser):
    for kept in SUITES[parser].kept:
        said = kept.outcomes["whole"].content
        if not kept.case.meant and not kept.outcomes["whole"].calls and (said or "").strip():
            assert not judged(kept.case, kept.outcomes["whole"]).faults, kept.case.name


@pytest.mark.parametrize("parser", PARSERS)
def test_the_files_have_the_templates_cases(parser):
    cases = cases_of(parser)
    assert [kept.case for kept in SUITES[parser].kept] == cases
    assert len(cases) >= 100 and len({case.name for case in cases}) == len(cases)


def test_a_file_keeps_every_outcome(tmp_path):
    write_suite(tmp_path / "x.jsonl", SUITES["hermes"])
    assert read_suite(tmp_path / "x.jsonl") == SUITES["hermes"]


@pytest.mark.parametrize("text", ["", "[]", '{"vllm": "1"}\n{"name": "x"}\n', "no JSON"])
def test_a_file_that_is_no_suite_is_named(tmp_path, text):
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    if text == "[]":
        assert read_suite(path).kept == []
    else:
        with pytest.raises(ValueError, match=r"x\.jsonl: no parser suite"):
            read_suite(path)


def other(suite, outcome):
    """A suite of a newer vLLM with another outcome of its eleventh case, streamed."""
    kept = list(suite.kept)
    kept[10] = dataclasses.replace(kept[10], outcomes=kept[10].outcomes | {"streamed": outcome})
    return Suite(suite.made_with | {"vllm": "0.30.0"}, kept)


def test_an_upgrade_that_changes_nothing_is_fine():
    before = SUITES["hermes"]
    is_same, told = compared(before, other(before, before.kept[10].outcomes["streamed"]))
    assert is_same and "vLLM 0.30.0 as they were with" in told


def test_what_an_upgrade_changes_is_named():
    is_same, told = compared(SUITES["hermes"], other(SUITES["hermes"], Outcome("gone")))
    assert not is_same
    assert "in 1 outcomes" in told
    assert """one (streamed): was weather({"city": "Bern"}), is text 'gone'""" in told


def test_new_templates_need_an_update():
    before = SUITES["hermes"]
    is_same, told = compared(before, Suite(before.made_with, before.kept[1:]))
    assert not is_same and "--update" in told


def test_an_update_is_of_the_parsers_alone(capsys):
    assert main(["doctor", "--update"]) == 1
    assert "--parsers" in capsys.readouterr().err


def test_a_lane_s_parser_without_cases_is_named(monkeypatch):
    monkeypatch.setattr("serve_app.engine.parsers.suite.run_suites", lambda: iter(SUITES.items()))
    fleet = load_fleet(fleet_path("local"))
    assert all(x.result is Result.OK for x in parser_findings(fleet, updates=False))
    lane = next(lane for lane in fleet.lanes.values() if lane.engine_args)
    lane.engine_args["tool_call_parser"] = "kimi_k2"
    found = list(parser_findings(fleet, updates=False))
    assert (found[0].check, found[0].result) == ("parsers", Result.FAILURE)
    assert found[0].detail == "lanes use kimi_k2, of which there are no cases"
