"""A cascade that is switched on in a running deployment: who moves, and what clients see of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.e2e.support import chat, reload, status_of

HOLDS = "pointsman_cascade_holds_total{"


@pytest.fixture
def cascading(simulated: str, simulated_file: Path) -> Iterator[str]:
    """The deployment in which everyone who does not go up at once may be held."""
    before = simulated_file.read_text()
    fleet = yaml.safe_load(before)
    fleet["routing"]["cascade"] = {"uncertainty": 1, "band": 1, "hold_tokens": 2, "whole_s": 30}
    simulated_file.write_text(yaml.safe_dump(fleet))
    reload(simulated)
    try:
        yield simulated
    finally:
        simulated_file.write_text(before)
        reload(simulated)


def ask(http: httpx.Client, url: str, text: str, *, stream: bool = True) -> tuple[str, str, str]:
    """Return lane, reason and all that came."""
    body = chat(text, max_tokens=6, temperature=0, stream=stream)
    with http.stream("POST", f"{url}/v1/chat/completions", json=body) as answer:
        said = answer.read().decode()
        assert answer.status_code == 200, said
        names = "x-pointsman-lane", "x-pointsman-reason"
        lane, reason = (answer.headers[name] for name in names)
    assert '"logprobs":{' not in said and '"logprob"' not in said
    return lane, reason, said


def test_who_is_unsure_moves_and_nobody_sees_a_log_probability(
    cascading: str, http: httpx.Client
) -> None:
    """Each of two ingress replicas has one move saved up; a connection stays with one of them."""
    for number in range(4):
        lane, reason, said = ask(http, cascading, f"Say {number}", stream=number % 2 == 0)
        assert (lane, reason) == ("chat", "default") and '"model":"simulated-chat"' in said

    found = [
        ask(http, cascading, f"Say {number} [unsure]", stream=number % 2 == 0)
        for number in range(9)
    ]

    moved = [said for lane, reason, said in found if (lane, reason) == ("quality", "cascade")]
    assert 1 <= len(moved) <= 2
    for said in moved:
        assert '"model":"simulated-quality"' in said and "simulated-chat" not in said
        assert said.endswith("data: [DONE]\n\n") or json.loads(said)["choices"]
    assert {lane for lane, reason, _ in found if reason == "default"} == {"chat"}
    told = [x for x in http.get(f"{cascading}/metrics").text.splitlines() if x.startswith(HOLDS)]
    counts = {
        outcome: sum(float(x.split()[-1]) for x in told if f'outcome="{outcome}"' in x)
        for outcome in ("sure", "moved")
    }
    assert counts["moved"] == len(moved) and counts["sure"] >= 4
    shown = status_of(http, cascading)["escalation"]["cascade"]
    assert shown["lane"] == "quality" and shown["moved_share"] > 0
