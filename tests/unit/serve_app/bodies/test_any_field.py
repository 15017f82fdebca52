"""Any field with any kind of value, on any route, is served or refused: never a fault of ours."""

import json

import pytest

from router.errors import Rejected
from router.types import Task
from serve_app.bodies.body_rules import RULES
from serve_app.bodies.opening import opening_of
from serve_app.bodies.parsed_request import for_engine
from serve_app.bodies.prefixes import prefix_key, prefix_of
from serve_app.bodies.routes import ROUTES
from serve_app.bodies.steps import at_once
from serve_app.request.turn import turn_facts_of
from tests.wrong_bodies import SMALLEST

pytestmark = pytest.mark.security

FIELDS = sorted(
    {name for rules in RULES.values() for name in rules}
    | {"metadata", "model", "output_config", "response_format", "service_tier", "suffix", "system"}
    | {
        "instructions",
        "text",
        "thinking",
        "reasoning",
        "tool_choice",
        "user",
        "user_id",
        "documents",
    }
    | {"chat_template_kwargs", "mm_processor_kwargs", "priority", "cache_salt", "store", "include"}
)
VALUES = (
    *(None, True, False, 0, -1, 1.5, 10**30, "", "x", "{", "[1]"),
    *([], [None], [1], [-1.5], ["x"], [[]], [[1]], [{}], [{"type": 1}], [{"role": 1}]),
    [{"type": "function", "function": None}],
    [{"role": "user", "content": [None, 1, "x", {}]}],
    *({}, {"a": None}, {"type": "x"}, {"type": [1]}, {"format": [1]}, {"json": 1}, {"regex": {}}),
    {"type": "json_schema", "json_schema": [1]},
    {"type": "function", "function": {"name": 1}},
)
CONVERSING = [route for route in ROUTES.values() if route.task is Task.GENERATE]
FORCED = {"tool_choice": {"type": "function", "function": {"name": "f"}}}


@pytest.mark.parametrize("route", CONVERSING, ids=lambda route: route.path)
@pytest.mark.parametrize("beside", [{}, FORCED], ids=["alone", "beside a forced tool"])
def test_it_is_read_or_refused(world, route, beside):
    """From the bytes to what an engine and the placement get of it."""
    pipeline, tenant = world.pipeline, world.state.policies.auth.tenant("acme")
    read = 0
    for name in FIELDS:
        for value in VALUES:
            body = {**SMALLEST[route.path], **beside, name: value}
            call = pipeline.call(route, {}, tenant)
            plan = at_once(pipeline.preparation.preparing(call, json.dumps(body).encode()))
            if isinstance(plan, Rejected):
                assert plan.message
                continue
            parsed = plan.parsed
            read += 1
            opening_of(parsed)
            turn_facts_of(parsed, "group", "session")
            if prefix_of(parsed) is not None:
                prefix_key(parsed)
            sent = json.loads(for_engine(parsed, model="m", cache_salt="s", priority=None))
            assert sent["model"] == "m"

    assert read > len(FIELDS)
