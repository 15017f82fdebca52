"""`replicas` of a lane: a number, or bounds between which they follow the load."""

import pytest

from serve_app.config.errors import ConfigError, validate
from serve_app.config.lane import LaneConfig
from serve_app.scaling.deployment import replica_options

LANE = {"model_id": "m", "model_source": "s", "max_model_len": 4096}
CARD = [{"CPU": 1.0, "GPU": 1.0}]


def lane(replicas, **more):
    return validate({**LANE, "replicas": replicas, **more}, LaneConfig, "fleet.yaml")


def test_a_number_is_fixed_as_it_always_was():
    assert LaneConfig(**LANE).replicas.min == LaneConfig(**LANE).replicas.max == 1
    options = replica_options("chat", lane(2), CARD, 0.8)
    assert options == {"num_replicas": 2}
    assert not lane({"min": 2, "max": 2}).replicas.follow_load


@pytest.mark.parametrize(
    ("replicas", "told"),
    [
        (0, "a number from 1 on"),
        (True, "a number from 1 on"),
        ("many", "a number from 1 on"),
        (1.5, "a number from 1 on"),
        ({"min": 3, "max": 2}, r"max \(2\) is less than min \(3\)"),
        ({"min": 1, "max": 2, "standby": 2}, "together are more than max"),
        ({"min": 0, "max": 2}, "replicas.min"),
        ({"min": 1}, "replicas.max"),
        ({"min": 1, "max": 2, "stanby": 1}, "did you mean 'standby'"),
    ],
)
def test_what_makes_no_sense_is_named(replicas, told):
    with pytest.raises(ConfigError, match=told):
        lane(replicas)


def test_bounds_make_serve_ask_our_policy():
    """At once up and down: what waits is in the policy, which knows why."""
    scaled = lane({"min": 1, "max": 3, "standby": 1}, engine_args={"max_num_seqs": 32})
    config = replica_options("chat", scaled, CARD, 0.5)["autoscaling_config"]
    assert (config.min_replicas, config.initial_replicas, config.max_replicas) == (1, None, 3)
    assert config.upscale_delay_s == config.downscale_delay_s == 0
    told = config.policy.policy_kwargs
    assert (told["lane"], told["bundles"]) == ("chat", CARD)
    policy = config.policy.get_policy()(**told)
    assert type(policy).__name__ == "LanePolicy"
    terms = scaled.replicas.terms(scaled.slots, None)
    assert (terms.slots, terms.standby, terms.ttft_s) == (32, 1, 0.8)
    early = lane({"min": 1, "max": 3, "full_at": 8}, engine_args={"max_num_seqs": 32})
    assert early.replicas.terms(early.slots, None).slots == 8
