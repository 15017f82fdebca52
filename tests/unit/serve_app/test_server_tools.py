"""Tools that nothing here runs, beside functions that the client runs."""

from __future__ import annotations

import json

import pytest

from router.errors import Rejected
from serve_app.bodies.parsed_request import parse
from serve_app.bodies.routes import ROUTES
from tests.unit.serve_app.test_model_names import ANTHROPIC

FLAT = {"type": "function", "name": "f", "parameters": {"type": "object"}}
OWN = {"name": "f", "input_schema": {"type": "object"}}
SPACE = {"type": "namespace", "name": "s", "tools": [FLAT]}
MESSAGES = [{"role": "user", "content": "hi"}]


def body_of(path, tools, **more):
    prompt = {"input": "hi"} if path == "/v1/responses" else {"messages": MESSAGES}
    return {**prompt, "max_tokens": 9, "tools": tools, **more}


CASES = [
    ("/v1/responses", [FLAT, {"type": "web_search"}], [FLAT], ("web_search",)),
    (
        "/v1/responses",
        [{"type": "web_search_preview_2025_03_11"}, SPACE, {"type": "custom", "name": "c"}],
        [SPACE, {"type": "custom", "name": "c"}],
        ("web_search_preview_2025_03_11",),
    ),
    *(
        (
            path,
            [
                {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
                OWN,
                {"type": "code_execution_20250825", "name": "code_execution"},
            ],
            [OWN],
            ("web_search_20250305", "code_execution_20250825"),
        )
        for path in ("/v1/messages", "/v1/messages/count_tokens")
    ),
    ("/v1/messages", [OWN, {"type": "custom", **OWN}], [OWN, {"type": "custom", **OWN}], ()),
]


@pytest.mark.parametrize(("path", "tools", "kept", "dropped"), CASES)
def test_tools_that_only_an_apis_servers_run_are_left_out_beside_functions(
    path, tools, kept, dropped
):
    """And neither counted nor charged."""
    parsed = parse(json.dumps(body_of(path, tools)).encode(), ROUTES[path])
    without = parse(json.dumps(body_of(path, kept)).encode(), ROUTES[path])

    assert not isinstance(parsed, Rejected) and not isinstance(without, Rejected)
    assert (parsed.body["tools"], parsed.dropped_tools) == (kept, dropped)
    assert parsed.tools == without.tools == len(kept)
    assert parsed.prompt.bytes == pytest.approx(without.prompt.bytes, abs=10 * len(tools))


@pytest.mark.parametrize("stream", [True, False])
async def test_the_answer_names_what_was_left_out(world, engine, stream):
    """The engine does not see it."""
    world.lanes.answers = [engine()]
    body = body_of("/v1/responses", [FLAT, {"type": "web_search"}], stream=stream)

    answer = await world.post("/v1/responses", body, key="acme")

    assert answer.headers["x-pointsman-tools-dropped"] == "web_search"
    assert [tool["type"] for tool in world.lanes.opened[0].body["tools"]] == ["function"]


async def test_nothing_is_said_where_nothing_was_left_out(world, engine):
    """As for most requests."""
    world.lanes.answers = [engine()]

    answer = await world.post(
        "/v1/messages", body_of("/v1/messages", [OWN]), key="acme", headers=ANTHROPIC
    )

    assert "x-pointsman-tools-dropped" not in answer.headers
