"""Bounds on one request: answers by the tier, prompts by the fleet; and no model is any."""

import json

import pytest

pytestmark = pytest.mark.security

COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


async def test_a_batch_of_prompts_is_not_many_answers(world, engine):
    """64 prompts of a tenant that may ask for one answer to each."""
    world.lanes.answers.append(engine())

    response = await world.post(COMPLETIONS, {"prompt": ["a"] * 64}, key="guest")

    assert response.status_code == 200
    assert len(world.lanes.opened[-1].body["prompt"]) == 64


@pytest.mark.parametrize("prompts", [["a"] * 129, [[1]] * 129])
async def test_too_many_prompts_are_refused_as_such(world, prompts):
    """The message is about prompts, and nothing reaches an engine."""
    response = await world.post(COMPLETIONS, {"prompt": prompts})

    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "prompt")
    assert "129 prompts" in error["message"] and "128" in error["message"]
    assert world.lanes.opened == []


@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
async def test_too_many_answers_are_refused_as_such(world, path):
    """The tier bounds `n`, whatever the number of prompts."""
    response = await world.post(path, {**HELLO, "prompt": ["a", "b"], "n": 2}, key="guest")

    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "n")
    assert "prompts" not in error["message"]


async def test_one_prompt_of_many_tokens_is_one_prompt(world, engine):
    """Token ids are not prompts."""
    world.lanes.answers.append(engine())

    response = await world.post(COMPLETIONS, {"prompt": list(range(1000))})

    assert response.status_code == 200


@pytest.mark.parametrize("model", ["", "  "])
async def test_a_blank_model_is_routed(world, engine, model):
    """As if it were left out."""
    world.lanes.answers.append(engine())

    response = await world.post(CHAT, {**HELLO, "model": model})

    assert response.status_code == 200
    assert world.lanes.opened[-1].body["model"] == "small"


async def test_an_integer_past_64_bits_reaches_the_engine(world, engine):
    """To be refused there, in its words; not as another number."""
    world.lanes.answers.append(engine())
    raw = json.dumps({**HELLO, "seed": 2**70})

    async with world.client() as client:
        await client.post(CHAT, content=raw)

    assert world.lanes.opened[-1].body["seed"] == 2**70
