"""Requests for aliases, and the window that `auto` has."""

from dataclasses import replace

import pytest

from router.routing.aliases import AUTO, Aliases
from router.routing.lane import auto_window, decide_lane
from router.routing.policy import RoutingPolicy
from router.types import Lane, Reason, RequestFacts, TierRules

CHAT = Lane("chat", "org/small", 4_000)
QUALITY = Lane("quality", "org/large", 8_000)
LONG = Lane("long", "org/long", 100_000)

ALIASES = Aliases({"claude-*": "quality", "gpt-*": AUTO, "*": "chat"})
POLICY = RoutingPolicy(
    lanes={lane.name: lane for lane in (CHAT, QUALITY, LONG)},
    default="chat",
    by_model={lane.model_id: lane.name for lane in (CHAT, QUALITY, LONG)},
    aliases=ALIASES,
)


def pinned(name):
    def score():
        pytest.fail("a pinned request is not scored")

    facts = RequestFacts(pinned=name, has_tools=False, prompt_tokens=10, output_tokens=5)
    decision = decide_lane(POLICY, TierRules(), facts, score)
    return decision.lane, decision.reason


def test_an_alias_of_a_lane_pins_it_and_one_of_auto_does_not():
    """The reason is the same as where the lane is named."""
    assert pinned("claude-opus-4-8") == (QUALITY, Reason.PINNED)
    assert pinned("gpt-5") == (CHAT, Reason.DEFAULT)


@pytest.mark.parametrize("name", ["long", "org/long"])
def test_lanes_and_their_model_ids_come_before_aliases(name):
    """A pattern that matches them takes nothing away."""
    assert pinned(name) == (LONG, Reason.PINNED)
    assert not POLICY.is_auto(name)


@pytest.mark.parametrize(
    ("policy", "tier", "window"),
    [
        ({}, TierRules(), 4_000),
        ({"long_context": "long"}, TierRules(), 100_000),
        ({"long_context": "long"}, TierRules(lanes=frozenset({"chat", "quality"})), 4_000),
        ({"default": "quality", "long_context": "chat"}, TierRules(), 8_000),
        ({}, TierRules(default_lane="quality"), 8_000),
        ({}, TierRules(lanes=frozenset({"none"})), None),
    ],
    ids=["base", "long", "long is closed", "long is shorter", "the tier's own", "nothing open"],
)
def test_the_window_of_auto_is_that_of_the_lane_for_what_fits_nowhere_else(policy, tier, window):
    """No smaller, for a client would shorten its history for nothing; and no larger."""
    assert auto_window(replace(POLICY, **policy), tier) == window
