"""Lanes that sheddable and protected tiers share, and the lines that separate them."""

import pytest

from serve_app.config.errors import validate
from serve_app.config.fleet import FleetConfig
from serve_app.config.settings import load_fleet, load_tenants
from serve_app.config.tenants import TenantsConfig
from serve_app.doctor.check import Result
from serve_app.doctor.files.tiers import shared_lanes
from simulator.home import shipped

FLEETS = shipped() / "configs" / "fleets"
SHIPPED = load_tenants(shipped() / "configs" / "tenants.yaml")


def fleet(routing=None, off=(), **lanes):
    """Lanes on cards by name; a text instead of one is its engine."""
    told = {
        name: {
            "model_id": name,
            "model_source": "owner/name",
            "max_model_len": 1024,
            "enabled": name not in off,
            **more,
        }
        for name, more in lanes.items()
    }
    return validate(
        {"name": "f", "lanes": told, "routing": {"default": "chat", **(routing or {})}},
        FleetConfig,
        "fleet.yaml",
    )


def tenants(**free):
    tiers = {"paid": {}, "free": {"priority": 10, "sheddable": True, **free}}
    return TenantsConfig.model_validate({"tiers": tiers})


def test_one_lane_for_both_is_warned_of_with_both_ways_out():
    found = shared_lanes(fleet(chat={}), tenants(history={"high_tokens": 3000, "low_tokens": 2000}))
    assert found.result is Result.WARNING
    assert "shared lane chat of sheddable and protected tiers (free with paid)" in found.detail
    assert "two_cards_free_tier.yaml" in found.fix
    assert "one card has no room for a second pool" in found.fix
    assert "tiers.free.kv: {tokens_per_tenant: 6000}" in found.fix
    two = shared_lanes(fleet({"tools": "big"}, chat={}, big={}), tenants())
    assert "lanes.free: a smaller model on another card" in two.fix
    assert two.fix.endswith("without another card, tiers.free.kv: {tokens_per_tenant: 8192}")


@pytest.mark.parametrize(
    ("fleet_", "free", "shared"),
    [
        (fleet(chat={}, free={}), {"default_lane": "free"}, ""),
        (fleet(chat={}, free={}), {}, "chat"),
        (fleet(chat={}, free={}), {"default_lane": "free", "lanes": ["free"]}, ""),
        (fleet({"complex": "big"}, chat={}, free={}, big={}), {"default_lane": "free"}, "big"),
        (
            fleet({"complex": "big"}, chat={}, free={}, big={}),
            {"default_lane": "free", "escalation_budget": 0},
            "",
        ),
        (fleet({"tools": "big"}, chat={}, free={}, big={}), {"default_lane": "free"}, "big"),
        (
            fleet({"tools": "big"}, chat={}, free={}, big={}),
            {"default_lane": "free", "lanes": ["free"]},
            "",
        ),
        # A default lane that is off is none.
        (fleet(off=["free"], chat={}, free={}), {"default_lane": "free"}, "chat"),
        # Nothing on a card: no cache to fight for.
        (fleet(chat={"accelerator": "cpu"}), {}, ""),
        (fleet(chat={"engine": "simulated"}), {}, ""),
    ],
)
def test_a_lane_is_shared_where_rules_bring_work_of_both(fleet_, free, shared):
    found = shared_lanes(fleet_, tenants(**free))
    assert (found.result is Result.WARNING) == bool(shared)
    if shared:
        assert f"shared lane {shared} of" in found.detail


def test_a_lane_that_nobody_else_gets_is_the_fix():
    found = shared_lanes(fleet(chat={}, spare={}), tenants())
    assert found.fix == "tiers.free.default_lane: spare and tiers.free.lanes: [spare]"
    waiting = fleet({"tools": "big"}, off=["free"], chat={}, free={}, big={})
    found = shared_lanes(waiting, tenants())
    assert found.fix.startswith("lanes.free.enabled: true (one more card), tiers.free.default")


def test_what_is_bounded_is_no_warning():
    found = shared_lanes(fleet(chat={}), tenants(kv={"tokens_per_tenant": 8192}))
    assert (found.result, "free: by kv" in found.detail) == (Result.OK, True)
    whole = TenantsConfig.model_validate({"tiers": {"paid": {}}})
    assert shared_lanes(fleet(chat={}), whole).result is Result.NOT_APPLICABLE


def test_the_shipped_fleet_for_free_users_keeps_them_apart():
    assert SHIPPED.tiers["free"].default_lane == "free"
    for name in ("two_cards_free_tier", "rtx4090"):
        apart = load_fleet(FLEETS / f"{name}.yaml")
        assert shared_lanes(apart, SHIPPED).result is Result.OK


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("one_card", "one card has no room for a second pool: "),
        ("one_card_two_models", "one card has no room for a second pool: "),
        ("two_cards", "lanes.free: a smaller model on another card, as in "),
        ("rtx3090", "lanes.free.enabled: true (one more card); without another card, "),
        ("rtx4090_open_models", "lanes.free.enabled: true (one more card); without"),
        ("rtx5090", "lanes.free.enabled: true (one more card); without another card, "),
    ],
)
def test_a_shipped_fleet_for_paying_users_says_what_free_ones_need(name, fix):
    shipped_fleet = load_fleet(FLEETS / f"{name}.yaml")
    together = shared_lanes(shipped_fleet, SHIPPED)
    assert together.result is Result.WARNING
    assert together.fix.startswith(fix)
    assert "tiers.free.lanes" not in together.fix
    if "free" in shipped_fleet.lanes:
        lanes = shipped_fleet.lanes | {
            "free": shipped_fleet.lanes["free"].model_copy(update={"enabled": True})
        }
        apart = shared_lanes(shipped_fleet.model_copy(update={"lanes": lanes}), SHIPPED)
        assert apart.result is Result.OK


def test_a_tier_that_keeps_to_its_lane_may_use_no_other_where_the_fleet_has_it():
    asked = tenants(default_lane="free", only_default_lane=True)
    paid, on = {"tier": "paid"}, {"tier": "free"}
    asked = TenantsConfig.model_validate(
        {"tiers": asked.model_dump()["tiers"], "tenants": {"acme": paid, "me": on}}
    )
    assert asked.rules_of("me", None, None, ["chat", "free"]).lanes == {"free"}
    assert asked.rules_of("me", None, None, ["chat"]).lanes == frozenset()
    assert asked.rules_of("acme", None, None, ["chat", "free"]).lanes == frozenset()
    shared = fleet({"tools": "big", "complex": "big"}, chat={}, free={}, big={})
    assert shared_lanes(shared, asked).result is Result.OK


def test_only_a_default_lane_can_be_kept_to():
    with pytest.raises(ValueError, match="only_default_lane: name the lane in default_lane"):
        tenants(only_default_lane=True)
