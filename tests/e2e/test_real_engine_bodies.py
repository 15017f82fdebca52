"""Wrong bodies against real engines: whatever a client sends, no fault of the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import httpx
import pytest

from router.types import Task
from serve_app.bodies.routes import ROUTES
from tests.refused_bodies import DEATHS, ROWS, Row
from tests.valid_bodies import VALID
from tests.wrong_bodies import CHAT, HI, SMALLEST, wrong_bodies

WRITTEN = [path for path in SMALLEST if ROUTES[path].task is Task.GENERATE]
"""Routes that this fleet has lanes for."""

PER_ROUTE = 250
"""Bodies of a route, evenly of all that there are: minutes would be hours on two cores."""

IN_FLIGHT = 8


def send(http: httpx.Client, path: str, body: dict[str, Any]) -> httpx.Response:
    return http.post(path, content=json.dumps(body), headers={"content-type": "application/json"})


def sample(path: str) -> list[tuple[str, dict[str, Any]]]:
    bodies = list(wrong_bodies(path))
    step = max(1, len(bodies) // PER_ROUTE)
    # Prime to the list of values, so that every field meets each of them somewhere.
    return list(islice(bodies, 0, None, step | 1))


@pytest.fixture
def http(real: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=real, timeout=120) as client:
        yield client


@pytest.mark.parametrize("path", WRITTEN)
def test_no_wrong_body_is_a_fault_of_the_server(http: httpx.Client, path: str) -> None:
    """An answer, or a 4xx that says what is wrong; never 5xx, never a cut connection."""
    bodies = sample(path)
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        answers = list(pool.map(lambda one: send(http, path, one[1]), bodies))

    faults = [
        (place, answer.status_code, answer.text[:200])
        for (place, _), answer in zip(bodies, answers, strict=True)
        if answer.status_code >= 500
    ]
    assert faults == []


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_what_an_engine_should_not_see_is_a_400(http: httpx.Client, row: Row) -> None:
    """The field is named; nothing is worth a second try."""
    answer = send(http, row.path, row.body)

    assert answer.status_code == 400, answer.text
    assert "retry-after" not in answer.headers
    assert row.param in answer.text


def test_engines_outlive_what_would_end_them(http: httpx.Client) -> None:
    """After all the deadly bodies a real engine answers, within a grammar too."""
    for row in DEATHS:
        assert send(http, row.path, row.body).status_code == 400

    either = {**SMALLEST[CHAT], "max_tokens": 4, "structured_outputs": {"choice": ["yes", "no"]}}
    answer = send(http, CHAT, either)
    assert answer.json()["choices"][0]["message"]["content"] in ("yes", "no")


def test_an_odd_expression_does_not_spoil_forced_calls(http: httpx.Client) -> None:
    """One tenant's grammar does not decide how the engine reads those of all others."""
    odd = {**SMALLEST[CHAT], "structured_outputs": {"regex": r"\p{L}+"}}
    parameters = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    forced = {"messages": [HI], "max_tokens": 40, "tools": [tool], "tool_choice": "required"}

    send(http, CHAT, odd)

    assert send(http, CHAT, forced).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [(p, b) for p, b in VALID if p in WRITTEN and "image_url" not in json.dumps(b)],
    ids=str,
)
def test_what_clients_rightly_send_is_no_fault(
    http: httpx.Client, path: str, body: dict[str, Any]
) -> None:
    """An answer, or the engine's own words about what this model cannot do."""
    # Short, whatever the client would like.
    limits = {"max_tokens", "max_completion_tokens", "max_output_tokens"}
    short = {k: (2 if k in limits and v else v) for k, v in body.items()}

    assert send(http, path, short).status_code in (200, 400)


def test_a_batch_of_prompts_is_answered_whole(http: httpx.Client) -> None:
    """64 prompts, as evaluations send them."""
    prompts = [f"{number} and" for number in range(64)]

    answer = send(http, "/v1/completions", {"prompt": prompts, "max_tokens": 1})

    assert answer.status_code == 200
    assert len(answer.json()["choices"]) == 64


def test_a_request_for_too_many_prompts_is_refused_for_its_prompts(http: httpx.Client) -> None:
    """Not for `n`, which it does not have."""
    answer = send(http, "/v1/completions", {"prompt": ["a"] * 129, "max_tokens": 1})

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "prompt"
