"""Settings of `routing:` that could do nothing: they stop the start, with what is missing."""

import pytest

from serve_app.config.errors import ConfigError, validate
from serve_app.config.fleet import FleetConfig

LANE = {"model_source": "x", "max_model_len": 4096}
LANES = {name: {**LANE, "model_id": name} for name in ("chat", "strong", "plans")}
SERVICE = {"classifier_service": {"artifact": "slow"}}
EXPLORED = {"exploration": {"epsilon": 0.02}}


def fleet(**routing) -> FleetConfig:
    data = {"name": "t", "lanes": LANES, "routing": {"default": "chat", **routing}}
    return validate(data, FleetConfig, "fleet.yaml")


@pytest.mark.parametrize(
    ("routing", "words"),
    [
        (EXPLORED, "exploration: no request goes to another lane for its score"),
        ({**EXPLORED, "planning": "plans"}, "name a lane as complex or frontier"),
        ({**EXPLORED, "complex": "strong", "escalation_share": 0}, "that has a share over 0"),
        ({**EXPLORED, "frontier": "strong", "frontier_share": 0}, "that has a share over 0"),
        (SERVICE, "classifier_service: no request goes to another lane for its score"),
        ({**SERVICE, "planning": "plans", "planning_share": 0}, "complex, frontier or planning"),
    ],
)
def test_what_can_never_do_anything_stops_the_start(routing, words):
    with pytest.raises(ConfigError, match=words):
        fleet(**routing)


@pytest.mark.parametrize(
    "routing",
    [
        {**EXPLORED, "complex": "strong"},
        {**EXPLORED, "frontier": "strong"},
        {**EXPLORED, "frontier": "strong", "complex": "plans", "escalation_share": 0},
        {**SERVICE, "complex": "strong"},
        {**SERVICE, "planning": "plans"},
    ],
)
def test_what_has_a_lane_to_lead_to_is_taken(routing):
    assert fleet(**routing).routing.model_fields_set >= routing.keys()
