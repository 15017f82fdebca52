"""What a turn would have to read again on another replica."""

import orjson
import pytest

from serve_app.bodies.parsed_request import parse
from serve_app.bodies.routes import ROUTES
from serve_app.request.turn import BYTES_PER_TOKEN, turn_facts_of

TOOLS = [{"type": "function", "function": {"name": f"t{n}", "description": "x" * 400}}
         for n in range(10)]  # fmt: skip
TOOL_TOKENS = len(orjson.dumps(TOOLS)) // BYTES_PER_TOKEN
USER = {"role": "user", "content": "Mend the build."}
CALLS = [
    {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function",
     "function": {"name": "t1", "arguments": "{}"}}]},
    {"role": "tool", "tool_call_id": "1", "content": "y" * 8_000},
]  # fmt: skip


def facts_of(body, path="/v1/chat/completions"):
    parsed = parse(orjson.dumps(body), ROUTES[path])
    return turn_facts_of(parsed, "acme", "s")


def test_tools_are_part_of_the_opening_and_not_of_the_history():
    """They stand before the first message, and every session of an agent shares them."""
    first = facts_of({"messages": [USER], "tools": TOOLS})
    later = facts_of({"messages": [USER, {"role": "assistant", "content": "ok"}, USER],
                   "tools": TOOLS})  # fmt: skip
    without = facts_of({"messages": [USER, {"role": "assistant", "content": "ok"}, USER]})

    assert (first.history_tokens, first.system_tokens) == (0, TOOL_TOKENS)
    assert later.system_tokens == TOOL_TOKENS
    assert later.history_tokens == pytest.approx(without.history_tokens, abs=5)


def test_an_agents_steps_are_history_though_its_user_spoke_once():
    """The newest message is the tool's answer; what was answered before is history."""
    begun = facts_of({"messages": [USER, *CALLS], "tools": TOOLS})
    later = facts_of({"messages": [USER, *CALLS, *CALLS], "tools": TOOLS})

    assert begun.history_tokens < 100
    assert 2_000 < later.history_tokens < 2_200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "system", "content": "z" * 4_000}, USER]}),
        ("/v1/messages", {"system": "z" * 4_000, "messages": [USER]}),
        ("/v1/responses", {"instructions": "z" * 4_000, "input": "Hello"}),
        ("/v1/responses", {"instructions": "z" * 4_000, "input": [USER]}),
    ],
)
def test_a_first_turn_has_no_history(path, body):
    """Whatever its system prompt is, and wherever it stands."""
    seen = facts_of(body, path)

    assert (seen.history_tokens, seen.system_tokens) == (0, 1_000)


def test_a_bare_prompt_is_all_new():
    seen = facts_of({"prompt": "a" * 4_000}, "/v1/completions")

    assert (seen.history_tokens, seen.system_tokens) == (0, 0)
