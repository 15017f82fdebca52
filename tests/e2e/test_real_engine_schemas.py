"""Schemas against real engines: the worst that is allowed hardly holds up another's stream."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest

from benchmarks.schemas import longest_gap
from benchmarks.support.schema_families import FAMILIES, largest
from serve_app.config.serving import SchemaConfig
from tests.e2e.support import chat

TRIES = 4
"""The best of them counts: other work on a busy machine makes any single one long."""

GAP_S = 3.0
"""Generous beside the 0.1 s that `python -m benchmarks.schemas` is held to: what there was
before the bounds took up to 40 s."""

CHAT = "/v1/chat/completions"
WORST = ("arrays in arrays", "a number of properties", "formats", "tags", "doubled anyOf")
"""Of the families of `benchmarks.support.schema_families`, those with the longest silences."""


def arrays(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.fixture(scope="module")
def gap_alone(real: str) -> float:
    """Longest silence of a stream beside a request without a schema, in seconds."""
    return min(longest_gap(real, "chat", {}) for _ in range(2))


@pytest.mark.parametrize("family", WORST)
@pytest.mark.busy
def test_the_worst_allowed_schema_hardly_holds_up_a_stream(
    real: str, gap_alone: float, family: str
) -> None:
    """The longest silence between two of its tokens."""
    constraint = FAMILIES[family](largest(family, SchemaConfig()))
    bar = GAP_S + 3 * gap_alone
    gaps: list[float] = []
    while len(gaps) < TRIES and min(gaps, default=bar) >= bar:
        gaps.append(longest_gap(real, "chat", constraint))

    assert min(gaps) < bar


@pytest.mark.parametrize("levels", [64, 200, 400, 800])
def test_a_deep_schema_is_refused_without_an_engine(real: str, levels: int) -> None:
    """The engine needed seconds for it; none of its replicas is asked."""
    schema = arrays(levels)
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    for fields in (
        {"structured_outputs": {"json": schema}},
        {"structured_outputs": {"json": json.dumps(schema)}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "a", "schema": schema},
            }
        },
        {"tools": [tool], "tool_choice": "required"},
        {"tools": [tool]},
    ):
        answer = httpx.post(real + CHAT, json=chat("Hi.", model="chat", **fields), timeout=60)

        assert answer.status_code == 400, fields.keys()
        assert "limits.schemas.levels" in answer.json()["error"]["message"]
        assert answer.json()["error"]["param"] in fields


@pytest.mark.parametrize("pattern", ["([a-z]+)*", "(.{0,10})*", "((a+)+)+", "(a{1,100}){1,100}"])
@pytest.mark.busy
def test_expressions_that_would_stop_an_engine_do_not(real: str, pattern: str) -> None:
    """Each took seconds a token, in which no stream went on."""
    begun = time.perf_counter()
    body = chat("Hi.", model="chat", max_tokens=64, structured_outputs={"regex": pattern})
    answer = httpx.post(real + CHAT, json=body, timeout=60)
    beside = httpx.post(real + CHAT, json=chat("Hi.", model="chat", max_tokens=1), timeout=60)

    assert answer.status_code == 400 and answer.json()["error"]["param"] == "structured_outputs"
    assert beside.status_code == 200
    assert time.perf_counter() - begun < 60
