"""`routing.cascade` of the fleet file: off unless it is there, refused where nothing could move."""

import pytest

from serve_app.config.errors import ConfigError, validate
from serve_app.config.fleet import FleetConfig
from serve_app.routing.policies import levels_of, routing_of

LANE = {"model_source": "x", "max_model_len": 4096}
LANES = {"chat": {**LANE, "model_id": "a"}, "quality": {**LANE, "model_id": "b"}}
ON = {"uncertainty": 1.2}


def fleet(cascade=ON, *, lanes=LANES, **routing) -> FleetConfig:
    routed = {"default": "chat", "complex": "quality", "cascade": cascade, **routing}
    return validate({"name": "t", "lanes": lanes, "routing": routed}, FleetConfig, "fleet.yaml")


def refused(*args, **kwargs) -> str:
    with pytest.raises(ConfigError) as caught:
        fleet(*args, **kwargs)
    return str(caught.value)


def test_it_is_off_unless_it_is_there():
    assert routing_of(fleet(None)).cascade is None
    assert fleet(None).routing.cascade is None


def test_it_is_about_the_complex_lane():
    """A frontier lane above has a share of its own."""
    lanes = {**LANES, "best": {**LANE, "model_id": "c"}}
    made = fleet(lanes=lanes, frontier="best")

    assert routing_of(made).cascade == "quality" == levels_of(made)[-1].lane


@pytest.mark.parametrize(
    ("cascade", "words"),
    [
        ({}, "uncertainty"),
        ({"uncertainty": 0}, "greater than 0"),
        ({**ON, "hold_tokens": 17}, "less than or equal to 16"),
        ({**ON, "hold_tokens": 0}, "greater than or equal to 1"),
        ({**ON, "hold_s": 6}, "less than or equal to 5"),
        ({**ON, "part": 0.8}, "less than or equal to 0.7"),
        ({**ON, "holdtokens": 4}, "hold_tokens"),
        ({**ON, "band": 0.02}, "nobody would be held"),
    ],
)
def test_nonsense_stops_the_start(cascade, words):
    assert words in refused(cascade)


@pytest.mark.parametrize(
    ("routing", "words"),
    [
        ({"complex": None}, "needs routing.complex"),
        ({"escalation_share": 0}, "needs routing.complex"),
        ({"complex": "chat"}, "nowhere to move to"),
    ],
)
def test_there_has_to_be_somewhere_to_move_to(routing, words):
    assert words in refused(**routing)


@pytest.mark.parametrize("mode", ["raw_logits", "processed_logits"])
def test_a_lane_that_gives_logits_tells_nothing(mode):
    """They have no scale of their own."""
    chat = {**LANES["chat"], "engine_args": {"logprobs_mode": mode}}

    assert "tells no log-probabilities" in refused(lanes={**LANES, "chat": chat})


def test_processed_log_probabilities_are_some():
    chat = {**LANES["chat"], "engine_args": {"logprobs_mode": "processed_logprobs"}}

    assert fleet(lanes={**LANES, "chat": chat}).lanes["chat"].tells_logprobs
