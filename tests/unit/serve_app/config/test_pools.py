"""Pools of cards in a fleet file, and what their lanes ask Ray for."""

import pytest
from pydantic import ValidationError

from serve_app.app import lane_options, placement_bundles
from serve_app.config.fleet import FleetConfig
from serve_app.config.pools import PoolConfig, part_of_card
from serve_app.engine.vllm_lane import environment, signal_args, worker_bundles
from serve_app.swap.pools import pools_of, with_part_of_cards


def fleet(pools=None, **lanes):
    base = {"model_source": "m", "max_model_len": 4096, "cards": "pool-a"}
    named = {name: base | {"model_id": name} | lane for name, lane in lanes.items()}
    pools = {"pool-a": {"host_memory_gib": 40}} if pools is None else pools
    default = next(iter(named))
    return FleetConfig.model_validate(
        {"name": "f", "lanes": named, "pools": pools, "routing": {"default": default}}
    )


@pytest.mark.parametrize(
    ("pools", "lanes", "told"),
    [
        ({"pool-b": {}}, {"a": {}}, "lanes.a.cards: no pool 'pool-a'; did you mean 'pool-b'"),
        ({"pool-a": {}, "x": {}}, {"a": {}}, "pools.x: no lane that runs has 'cards: x'"),
        (None, {"a": {"pin": True}, "b": {}}, "a are pinned and take all 1"),
        (None, {"a": {"pin": True}, "b": {"pin": True}}, "a, b are pinned and take all 1"),
        (None, {"a": {}, "b": {"accelerator": "cpu"}}, "lanes on the CPU and lanes on cards"),
        (None, {"a": {"replicas": 2}}, "a lane that shares cards has one replica"),
        (None, {"a": {"engine_args": {"tensor_parallel_size": 2}}}, "has one worker"),
        (None, {"a": {}, "b": {"cards": None, "pin": True}}, "pin: says of a lane with 'cards'"),
        ({"pool-a": {"gpu": 2}}, {"a": {}}, "gpu"),
    ],
)
def test_what_cannot_be_is_told(pools, lanes, told):
    with pytest.raises(ValidationError, match=told):
        fleet(pools, **lanes)


def test_lanes_ask_for_a_part_of_a_card_so_that_all_fit():
    assert part_of_card(PoolConfig(gpus=1), 3) == 0.3333
    assert part_of_card(PoolConfig(gpus=2), 5) == 0.3333
    assert part_of_card(PoolConfig(gpus=4), 3) == 1.0


def test_a_lane_on_a_card_is_placed_beside_others_and_can_sleep():
    config = fleet(a={}, b={"bundle": {"accelerator_type:H100": 0.001}})
    a, b = (with_part_of_cards(config.lanes[x], config) for x in "ab")

    assert worker_bundles(a) == [{"CPU": 1, "GPU": 0.5}]
    assert worker_bundles(b) == [{"CPU": 1, "GPU": 0.5, "accelerator_type:H100": 0.001}]
    assert signal_args(a)["enable_sleep_mode"] is True
    assert environment(a)["VLLM_RAY_PER_WORKER_GPUS"] == "0.5"
    assert lane_options("a", a)["num_replicas"] == 1


def test_lanes_on_the_cpu_share_their_cpus_and_others_are_left_alone():
    config = fleet(a={"accelerator": "cpu"}, b={"accelerator": "cpu"}, c={"cards": None})

    assert placement_bundles(with_part_of_cards(config.lanes["a"], config)) == [{"CPU": 0.5}]
    assert with_part_of_cards(config.lanes["c"], config) is config.lanes["c"]
    assert "enable_sleep_mode" not in signal_args(config.lanes["c"])


def test_a_pool_is_built_from_its_lanes():
    asleep = {"engine_args": {"enable_sleep_mode": False}}
    config = fleet({"pool-a": {"gpus": 2, "host_memory_gib": "auto"}}, a={}, b=asleep)
    pool = pools_of(config, now=0.0, simulated=False)["pool-a"]
    simulated = pools_of(config, now=0.0, simulated=True)["pool-a"]

    assert [x.lane.can_sleep for x in pool.lanes.values()] == [True, False]
    assert [x.lane.can_sleep for x in simulated.lanes.values()] == [True, True]
    assert pool.host_gib > 0
    assert (pool.bounds.gpus, pool.bounds.wait_bound_s) == (2, 120)
