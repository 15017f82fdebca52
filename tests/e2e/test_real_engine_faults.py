"""Requests on which vLLM itself fails: refused, and felt by nobody else."""

from __future__ import annotations

import concurrent.futures
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.support import await_two_chat_replicas, chat, eventually, is_idle, status_of

pytestmark = pytest.mark.busy

# A class of characters that its grammar compiler does not know: vLLM 0.29 answers 500.
UNREADABLE = {"regex": r"\p{L}+"}
# The others are looked into before their type is looked at; `body_rules` is before that.
CRASHES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", chat("Say hi.", model="chat", structured_outputs=UNREADABLE)),
    ("/v1/chat/completions", chat("Say hi.", model="quality", structured_outputs=UNREADABLE)),
    ("/v1/chat/completions", chat("Say hi.", model="chat", structured_outputs=[1])),
    ("/v1/completions", {"model": "chat", "prompt": "Say hi.", "structured_outputs": True}),
]
INTERNALS = ("attribute", "Traceback", ".py", "Error", "Say hi")


def faults_counted(http: httpx.Client, url: str) -> dict[str, float]:
    """Recoveries by outcome and ejections, as every ingress replica counts them."""
    families = text_string_to_metric_families(http.get(f"{url}/metrics").text)
    samples = [sample for family in families for sample in family.samples]
    found: dict[str, float] = {}
    for sample in samples:
        if sample.name == "pointsman_stream_recoveries_total":
            outcome = sample.labels["outcome"]
            found[outcome] = found.get(outcome, 0) + sample.value
        if sample.name == "pointsman_breakers_opened_total":
            found["opened"] = found.get("opened", 0) + sample.value
    return {name: value for name, value in found.items() if value}


@pytest.mark.parametrize("stream", [False, True])
def test_what_vllm_fails_on_is_a_bad_request(real: str, http: httpx.Client, stream: bool) -> None:
    """400 without a wait, nothing counted as a recovery, nobody ejected."""
    await_two_chat_replicas(http, real)
    before = faults_counted(http, real)

    # Asked for a stream, vLLM ends it without a word where a grammar cannot be made.
    asked = [x for x in CRASHES if not stream or x[1]["structured_outputs"] is not UNREADABLE]
    for path, body in asked * 3:
        response = http.post(f"{real}{path}", json={**body, "stream": stream})

        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (400, "invalid_request")
        assert "retry-after" not in response.headers
        assert not any(word in error["message"] for word in INTERNALS)
    assert faults_counted(http, real) == before
    assert not any(x["ejected"] for x in status_of(http, real)["ingress"])
    eventually(lambda: is_idle(http, real))


def test_answers_arrive_while_bad_requests_rain(real: str, http: httpx.Client) -> None:
    """Whole answers of others, on the same replicas, while fifty of them fail."""
    await_two_chat_replicas(http, real)
    path, bad = CRASHES[0]

    def post(body: dict[str, Any]) -> int:
        with httpx.Client(timeout=240) as own:
            return own.post(f"{real}{path}", json=body).status_code

    good = chat("Tell me a story.", model="chat", max_tokens=24, ignore_eos=True)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(post, good) for _ in range(4)]
        refused = list(pool.map(post, [bad] * 50))

    assert refused == [400] * 50
    assert [answer.result() for answer in answers] == [200] * 4
