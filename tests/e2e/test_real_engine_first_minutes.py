"""What somebody sees who follows the README, on a real engine."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import httpx

QUESTION = "What is the capital of France?"
README_BODY = {
    "model": "auto",
    "stream": True,
    "max_tokens": 64,
    "messages": [{"role": "user", "content": QUESTION}],
}


def said(stream: str) -> str:
    """The text of a streamed chat answer."""
    events = [line[6:] for line in stream.splitlines() if line.startswith("data: {")]
    deltas = [c["delta"] for event in events for c in json.loads(event).get("choices", ())]
    return "".join(delta.get("content") or "" for delta in deltas)


def test_the_readmes_question_is_answered_right_every_time(real: str, http: httpx.Client) -> None:
    """20 of 20: the example gives no temperature, so the model's own default counts."""

    def answer(seed: int) -> str:
        body = {**README_BODY, "max_tokens": 16, "seed": 7919 * seed}
        return said(http.post(f"{real}/v1/chat/completions", json=body).text)

    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(answer, range(20)))
    assert [x for x in answers if "Paris" not in x] == []


def test_the_default_leaves_several_choices_and_temperature_to_the_client(
    real: str, http: httpx.Client
) -> None:
    """vLLM refuses `n` above 1 where its default is greedy."""
    body = {**README_BODY, "stream": False, "n": 2, "max_tokens": 16}
    answer = http.post(f"{real}/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["choices"]) == 2
    body |= {"temperature": 1.5, "n": 4, "messages": [{"role": "user", "content": "Write a poem."}]}
    choices = http.post(f"{real}/v1/chat/completions", json=body).json()["choices"]
    assert len({x["message"]["content"] for x in choices}) > 1
