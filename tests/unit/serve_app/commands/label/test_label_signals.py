"""`--signals`: what the weak lane's log-probabilities say, beside its outcome."""

import json
import re
from math import log

import pytest
from aiohttp import web
from labelling import label, out_of, rows_of, summary

from evals.cascade.signals import SIGNALS, recorded

SURE = {"logprob": log(0.9), "top_logprobs": [{"logprob": log(0.9)}, {"logprob": log(0.1)}]}
PROMPT = [None, {"7": {"logprob": -2.0}}]


@pytest.fixture
def with_logprobs(fake):
    """The weak lane says what it knows, as vLLM does."""
    known = {"choice": {"logprobs": {"content": [SURE]}}, "body": {"prompt_logprobs": PROMPT}}

    def answer(lane, body):
        made = fake.said(lane, "42")
        if "logprobs" not in body:
            return made
        whole = json.loads(made.body)
        whole["choices"][0].update(known["choice"])
        return web.json_response(
            whole | known["body"],
            headers={name: made.headers[name] for name in made.headers if name.startswith("X-Po")}
            | {"x-pointsman-lane": lane, "x-pointsman-model": fake.models[lane]},
        )

    fake.answer = answer
    return known


def test_rows_hold_what_the_weak_lane_knew(fake, prompts, with_logprobs) -> None:
    """The stronger lane is not asked: nobody moves from it."""
    assert label(fake, prompts, "--signals", samples=2) == 0

    for row in rows_of(out_of(prompts)):
        found = recorded(row["signals"])
        assert set(found) == set(SIGNALS)
        assert (found["prompt_surprise"], found["agreement"]) == (2.0, 1.0)
        assert found["first_margin"] == pytest.approx(0.8, abs=1e-4)
    assert all(body["top_logprobs"] == 20 for body in fake.bodies("chat"))
    assert not any("logprobs" in name for body in fake.bodies("quality") for name in body)


def test_one_sample_agrees_with_nobody(fake, prompts, with_logprobs) -> None:
    """And an engine that does not tell of the prompt leaves its surprise out."""
    with_logprobs["body"] = {}

    assert label(fake, prompts, "--signals") == 0

    assert not any(
        {"agreement", "prompt_surprise"} & set(r["signals"]) for r in rows_of(out_of(prompts))
    )


def test_without_the_option_nothing_is_asked_or_kept(fake, prompts) -> None:
    label(fake, prompts)

    assert not any("signals" in row for row in rows_of(out_of(prompts)))
    assert not any("logprobs" in body for body in fake.seen)


@pytest.mark.parametrize(
    ("choice", "why"),
    [
        ({}, "no log-probabilities"),
        ({"logprobs": None}, "no log-probabilities"),
        ({"logprobs": {"content": None}}, "no log-probabilities"),
        ({"logprobs": {"content": [{"logprob": 0.0, "top_logprobs": []}]}}, "no log-probabilities"),
        ({"logprobs": {"content": []}}, "without a token"),
    ],
)
def test_an_engine_that_does_not_know_skips_the_prompt(
    fake, prompts, capsys, with_logprobs, choice, why
) -> None:
    """A simulated lane, for instance; the row would be taken for one without signals."""
    with_logprobs["choice"] = choice

    assert label(fake, prompts, "--signals") == 1

    assert rows_of(out_of(prompts)) == []
    assert re.search(f"chat: .*{why}", json.dumps(summary(capsys)))
