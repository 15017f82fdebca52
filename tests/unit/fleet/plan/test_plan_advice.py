"""What-ifs, walls of cost, rules of the documents, warnings."""

from dataclasses import replace

import pytest

from fleet.cards.table import cards
from fleet.plan.advice import binding, crossings, next_steps, verdict
from fleet.plan.plan import Wish, plan
from fleet.plan.reckoning.money import HOSTED, Hosted, Tariff, capped_speed, day_share, warm_ratio
from fleet.plan.reckoning.sizing import Wall
from fleet.plan.what_if import growth, what_ifs
from simulator.virtual_time.users import Users
from simulator.virtual_time.workload import load_workload

SAAS, AGENTS = load_workload("saas"), load_workload("agents")


def wish(users, workload=SAAS, stock=None, **more):
    return Wish(workload, users, cards(), stock or {"rtx4090": 9}, workload.promise, **more)


def what(given):
    return {x.name: x for x in what_ifs(plan(given))}


def test_16_bits_of_kv_hold_half_the_tokens():
    found = what(wish(Users(active=30)))["16-bit KV"]
    narrow, wide = (
        plan(wish(Users(active=30), kv_8bit=x)).lanes[0].served.memory.pool_tokens
        for x in (True, False)
    )
    assert narrow == pytest.approx(2 * wide, rel=0.01)
    assert f"{wide:,.0f} tokens" in found.text


def test_the_free_tier_has_a_smaller_model_on_a_pool_of_its_own():
    large = {"chat": "hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4"}
    given = wish(Users(active=2000, free_ratio=0.9), stock={"h100": 1}, models=large)
    found = plan(given)
    assert [lane.name for lane in found.lanes] == ["chat", "quality", "free"]
    mingled = what(given)["free tier in the paid pool"]
    assert mingled.text.startswith("not advised")
    assert mingled.bill > 1.5 * found.bill


def test_two_lanes_on_one_card_have_what_both_leave():
    text = what(wish(Users(active=5)))["chat and quality on one card"].text
    assert "GiB of KV" in text and "both share the card's speed" in text


def test_a_fleet_of_one_replica_a_lane_saves_nothing_by_the_day():
    alone, many = (what(wish(Users(active=n)))["autoscaling"] for n in (5, 2000))
    assert "saves 0%" in alone.text
    assert many.bill < 0.6 * plan(wish(Users(active=2000))).bill
    bought = what(wish(Users(active=5), tariff=Tariff(months=36)))["autoscaling"]
    assert bought.bill is None
    assert day_share(0.9, 0.5) == 1
    assert warm_ratio(1, 600) == 0


def test_a_power_cap_is_the_documents_and_costs_at_most_4_percent():
    assert "-pl 400` costs up to 3.9%" in what(wish(Users(active=5)))["power cap"].text
    assert capped_speed(cards()["rtx4090"], 900) == 1


def test_a_70b_that_composes_takes_cards_of_its_own():
    found = what(wish(Users(active=5), AGENTS, {"rtx4090": 4}))["a 70B composes"]
    assert "takes 2 cards" in found.text


def test_cost_binds_where_every_hosted_model_is_cheaper():
    few, many = plan(wish(Users(daily=20))), plan(wish(Users(active=200)))
    assert binding(few) is Wall.COST
    assert binding(many) in (Wall.DECODE, Wall.PREFILL)
    assert binding(many, {"gift": Hosted(0.0001, 0.0001)}) is Wall.COST
    by_model = {x.model: x for x in crossings(few)}
    assert by_model.keys() == HOSTED.keys()
    for crossing in by_model.values():
        assert crossing.from_tokens / 1e6 * crossing.dollars_a_million == pytest.approx(few.bill)


@pytest.mark.parametrize(
    ("users", "workload", "rule"),
    [
        (Users(active=3), SAAS, "a small card does"),
        (Users(active=12), SAAS, "a 24 GB card pays"),
        (Users(active=500), SAAS, "rather than one larger"),
        (Users(daily=5), AGENTS, "a hosted API is the right answer"),
        (Users(active=13), AGENTS, "a second card, balanced"),
        (Users(active=30), AGENTS, "look at the 5090"),
        (Users(active=3), SAAS.model_copy(update={"system_tokens": 40_000}), "32k are common"),
    ],
)
def test_a_rule_of_the_documents_is_told_where_it_applies(users, workload, rule):
    given = replace(wish(users, workload, {"h100": 9}))
    assert any(rule in x for x in verdict(plan(given)))


def test_many_tenants_system_prompts_are_warned_of():
    few, many = (
        plan(wish(Users(active=5), SAAS.model_copy(update={"tenants": n}))) for n in (5, 500)
    )
    assert not any("LRU" in x for x in next_steps(few))
    assert any("LRU drops those of quiet tenants" in x for x in next_steps(many))


def test_growth_is_where_the_stock_ends():
    given = wish(Users(active=10), stock={"rtx4090": 2})
    times = growth(given)
    more, less = (replace(given, users=Users(active=10 * times * x)) for x in (1.01, 0.99))
    assert plan(more).short
    assert not plan(less).short


def test_a_bought_card_costs_its_price_and_its_power():
    card = cards()["rtx4090"]
    tariff = Tariff(months=20, kwh=0.30)
    full = tariff.card_a_month(card, busy=1.0) - card.price_usd / 20
    assert full == pytest.approx(0.45 * 720 * 0.30)
    assert tariff.card_a_month(card, cap_w=225) < tariff.card_a_month(card)
    assert Tariff(rent_per_month=700).card_a_month(card) == 700
