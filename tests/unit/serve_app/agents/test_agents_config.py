"""The `agents:` block of a tier."""

import pytest

from router.agents.bounds import Bounds
from router.agents.loops import LoopRules
from router.agents.shorten import ResultLimit
from serve_app.config.agents import AgentConfig
from serve_app.config.errors import ConfigError, validate


def test_the_defaults_are_those_of_the_decisions():
    config = validate({"tool_results": {}}, AgentConfig, "agents")

    assert config.bounds == Bounds()
    assert config.loops.rules == LoopRules()
    assert config.tool_results.limit == ResultLimit()
    assert (config.on_depth, config.loops.action) == ("refuse", "warn")
    assert AgentConfig().tool_results is None


def test_a_coding_agents_tier_lifts_the_bounds():
    given = {"turn_depth": None, "task_depth": None, "loops": {"repeats": 8, "near": None}}

    config = validate(given, AgentConfig, "agents")

    assert config.bounds == Bounds(None, None)
    assert config.loops.rules == LoopRules(repeats=8, near=None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"turn_depth": 0},
        {"task_s": -1},
        {"on_depth": "ignore"},
        {"loops": {"repeats": 1}},
        {"loops": {"action": "kill"}},
        {"tool_results": {"max_tokens": 10}},
        {"tool_results": {"mode": "forget"}},
        {"tool_results": {"summary": {"max_tokens": 100}}},
        {"tool_results": {"mode": "summarise", "max_tokens": 200}},
        {"tool_results": {"mode": "summarise", "summary": {"lane": ""}}},
        {"tool_results": {"mode": "summarise", "summary": {"within_s": 0}}},
        {"depth": 5},
    ],
)
def test_what_cannot_be_meant_is_refused(wrong):
    with pytest.raises(ConfigError):
        validate(wrong, AgentConfig, "agents")
