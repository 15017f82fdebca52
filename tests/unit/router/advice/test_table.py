"""The table: every row is whole, and becomes advice."""

import math
import string

import pytest

from router.advice.judge import State, Verdict
from router.advice.table import (
    BY_NAME,
    FLEET,
    TRIGGERS,
    Prices,
    Subject,
    advice,
    applies,
    is_urgent,
)
from router.advice.trigger import Price, Scope, Severity

FACTS = {
    "lane": "chat",
    "replicas": 1,
    "more": 2,
    "fewer": 0,
    "max_num_seqs": 32,
    "fewer_seqs": 24,
    "max_model_len": 8192,
    "half_window": 0,
    "memory_share": 0.95,
    "role": "",
    "heavy": "heavy",
    "tier": "free",
    "whole_tier": "free",
    "contended_from": 40,
    "drifted": "nothing so far",
    "has_prefix_cache": True,
    "shares_pools": True,
}
CHAT = Subject("chat", frozenset({Scope.EACH, Scope.DEFAULT}), FACTS)
FIRES = Verdict(State.FIRING, 0.95, 1.0, 4, 1.0, 60.0)

every_row = pytest.mark.parametrize("trigger", TRIGGERS, ids=[x.name for x in TRIGGERS])


def test_every_name_is_there_once():
    assert len(BY_NAME) == len(TRIGGERS)


@every_row
def test_a_row_clears_on_the_other_side_of_its_limit(trigger):
    assert trigger.clear < trigger.limit if trigger.is_above else trigger.clear > trigger.limit


@every_row
def test_a_row_names_its_source_its_remedy_and_the_way_back_in_known_words(trigger):
    assert trigger.source
    named = [
        x for t in (trigger.remedy, trigger.undo) for _, x, _, _ in string.Formatter().parse(t)
    ]

    assert {x for x in named if x} <= FACTS.keys()
    row = advice(trigger, CHAT, FIRES, Prices())
    assert row["remedy"]
    assert row["undo"]


def test_advice_names_the_key_the_old_value_and_the_new():
    row = advice(BY_NAME["kv_cache"], CHAT, FIRES, Prices())

    assert "lanes.chat.engine_args.max_num_seqs: 32 -> 24" in row["remedy"]
    assert row["price"] == "nothing"
    assert row["confidence"] == {"coverage": 1.0, "samples": 4, "sure": 1.0}
    assert row["since"] == 60
    assert is_urgent(row)


def test_a_fact_that_nobody_gave_stands_for_itself():
    bare = Subject("chat", frozenset({Scope.EACH}), {})

    assert "lanes.LANE.replicas" in advice(BY_NAME["waiting"], bare, FIRES, Prices())["remedy"]


def test_what_saves_money_is_no_reason_to_fail():
    row = advice(BY_NAME["too_big"], CHAT, FIRES, Prices())

    assert row["severity"] == Severity.SAVE
    assert not is_urgent(row)
    assert not is_urgent({**row, "severity": "now", "state": "clear"})


def test_a_value_that_is_none_is_told_as_such():
    nothing = Verdict(State.TOO_LITTLE, math.nan, 0, 0, 0, None)

    assert advice(BY_NAME["waiting"], CHAT, nothing, Prices())["value"] is None


def test_prices_are_the_operators():
    prices = Prices(card=650, larger_card=900, currency="GBP")

    told = {x: prices.of(x) for x in Price}

    assert told == {
        Price.CARD: "+650 GBP a month",
        Price.LARGER_CARD: "+900 GBP a month",
        Price.NOTHING: "nothing",
        Price.SAVES_CARD: "-650 GBP a month",
    }


def test_a_row_applies_by_role_and_by_what_it_needs():
    fleet = Subject(FLEET, frozenset({Scope.FLEET}), FACTS)

    assert applies(BY_NAME["waiting"], CHAT)
    assert applies(BY_NAME["sessions_25"], CHAT)
    assert not applies(BY_NAME["agents_12"], CHAT)
    assert not applies(BY_NAME["too_big"], CHAT), "it has one replica"
    assert applies(BY_NAME["tokens_2b"], fleet)
    assert not applies(BY_NAME["waiting"], fleet)
