"""A whole answer of /v1/messages whose call the engine itself cannot write."""

from __future__ import annotations

import orjson
import pytest

from serve_app.agents.verdict import CallOutcome
from tests.unit.serve_app.agents.answers import MESSAGES, Answer, offered, whole
from tests.unit.serve_app.agents.test_gate import BAD, GOOD, SCHEMAS
from tests.unit.serve_app.conftest import with_tier

# Recorded from the pinned vLLM.
NOT_JSON = "Expecting value: line 1 column 7 (char 6)"
NOT_OBJECT = (
    "1 validation error for AnthropicContentBlock\ninput\n  Input should be a valid dictionary "
    "[type=dict_type, input_value=['x'], input_type=list]\n"
    "    For further information visit https://errors.pydantic.dev/2.14/v/dict_type"
)
BODY = offered(
    MESSAGES, SCHEMAS, messages=[{"role": "user", "content": "Add."}], model="chat", max_tokens=100
)


def refusal(message: str) -> dict:
    return {"type": "error", "error": {"type": "BadRequestError", "message": message}}


def made(*calls) -> dict:
    return whole(MESSAGES, Answer([], list(calls)))


@pytest.fixture
def holding(world):
    """The world in which calls are held until they are valid."""
    with_tier(world, agents={"tool_calls": {"check": "hold"}})
    return world


@pytest.mark.parametrize("message", [NOT_JSON, NOT_OBJECT, "Extra data: line 1 column 10 (char 9)"])
@pytest.mark.parametrize("status", [400, 500])
async def test_it_is_asked_for_anew_with_the_grammar(holding, engine, message, status):
    """The client gets the call, and hears that it took two."""
    holding.lanes.answers = [engine(refusal(message), status), engine(made(GOOD))]

    answer = await holding.post(MESSAGES, BODY, key="acme")

    assert answer.status_code == 200, answer.text
    assert answer.headers["x-pointsman-tool-repair"] == "grammar"
    assert [block["name"] for block in answer.json()["content"]] == ["add"]
    second = holding.lanes.opened[1]
    assert (second.url, second.body["tool_choice"]["type"]) == ("http://chat", "any")
    assert holding.count("pointsman_tool_calls_total", lane="chat", outcome="not_json") == 1
    assert holding.reserved() == 0


@pytest.mark.parametrize("is_parallel", [True, False])
async def test_an_answer_of_several_calls_is_made_anew_with_all_of_them(
    holding, engine, is_parallel
):
    """Only one is asked for where the client allows no more."""
    answers = [engine(refusal(NOT_JSON), 400), engine(made(GOOD, ("list", ["{}"])))]
    holding.lanes.answers = answers
    choice = {"type": "auto", "disable_parallel_tool_use": not is_parallel}

    answer = await holding.post(MESSAGES, {**BODY, "tool_choice": choice}, key="acme")

    asked = holding.lanes.opened[1].body["tool_choice"]
    assert asked == {"type": "any", "disable_parallel_tool_use": not is_parallel}
    if is_parallel:
        assert [block["name"] for block in answer.json()["content"]] == ["add", "list"]


async def test_the_stronger_lane_is_asked_where_the_grammar_did_not_help(holding, engine):
    """It is told as the reason."""
    bad = made(BAD[CallOutcome.SCHEMA])
    holding.lanes.answers = [engine(refusal(NOT_JSON), 400), engine(bad), engine(made(GOOD))]

    answer = await holding.post(MESSAGES, BODY, key="acme")

    assert (answer.status_code, answer.headers["x-pointsman-reason"]) == (200, "validation_failed")
    # Two answers of 10 and 5 tokens: the engine told nothing of the first.
    assert answer.json()["usage"] == {"input_tokens": 20, "output_tokens": 10}
    assert [sent.url for sent in holding.lanes.opened] == ["http://chat"] * 2 + ["http://quality"]


async def test_what_nobody_can_make_is_no_fault_of_the_request(holding, engine):
    holding.lanes.answers = [engine(refusal(NOT_JSON), 400) for _ in range(3)]

    answer = await holding.post(MESSAGES, BODY, key="acme")

    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "tool_call_invalid")


async def test_without_a_gate_that_holds_it_is_told_and_not_mended(world, engine):
    world.lanes.answers = [engine(refusal(NOT_JSON), 400)]

    answer = await world.post(MESSAGES, BODY, key="acme")

    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "tool_call_invalid")
    assert len(world.lanes.opened) == 1


async def test_a_request_that_is_wrong_stays_the_clients_fault(holding, engine):
    holding.lanes.answers = [engine(refusal("top_p must be in (0, 1], got 2."), 400)]

    answer = await holding.post(MESSAGES, BODY, key="acme")

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
    assert orjson.loads(answer.content)["error"]["type"] == "invalid_request_error"
