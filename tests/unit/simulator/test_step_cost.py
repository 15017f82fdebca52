"""A step's cost by kernel times, and what a data sheet makes of it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from simulator.model.engine import BatchingEngine, Sequence
from simulator.model.profile import Scheduling, Timing
from simulator.model.step_cost import Points, Reached, StepCost, derive, interpolated, pairs

COST = StepCost(
    linear_ms={1: 10, 100: 20, 200: 40},
    sequence_us=100,
    prefill_pair_ns=1000,
    context_ns=2000,
    mixed_context_ns=4000,
    fixed_ms=1,
)


def test_a_step_is_the_sum_of_its_parts() -> None:
    alone = COST.seconds(0, 0, 1, 500)
    assert alone == pytest.approx((1 + 10 + 0.1 + 1.0) / 1000)
    mixed = COST.seconds(99, pairs(99, 0), 1, 500)
    assert mixed == pytest.approx((1 + 20 + 0.1 + 99 * 50 / 1000 + 2.0) / 1000)


def test_past_the_last_point_the_last_slope_goes_on() -> None:
    assert COST.seconds(300, 0, 0, 0) == pytest.approx((1 + 60) / 1000)


def test_chunks_of_a_prompt_look_at_as_many_pairs_as_the_whole() -> None:
    assert pairs(300, 0) + pairs(200, 300) == pairs(500, 0)


def test_an_engine_counts_what_its_steps_read() -> None:
    scheduling = Scheduling(max_num_batched_tokens=128, max_num_seqs=4, num_gpu_blocks=100)
    engine = BatchingEngine(Timing.model_validate({"step": COST}), scheduling)
    one = Sequence(150, 3, lambda index: index)
    engine.add(one, 0.0)
    while engine.next_at is not None:
        engine.advance()
    first = COST.seconds(128, pairs(128, 0), 0, 0) + COST.seconds(22, pairs(22, 128), 0, 0)
    assert one.first_token_at == pytest.approx(first)
    then = COST.seconds(0, 0, 1, 150) + COST.seconds(0, 0, 1, 151)
    assert one.finished_at == pytest.approx(first + then)


def test_the_plain_figures_are_read_off_the_step() -> None:
    timing = Timing.model_validate({"step": COST.model_dump()})
    assert timing.decode_step_ms[16] == pytest.approx(1000 * COST.seconds(0, 0, 16, 16_000))
    assert Timing.model_validate(timing.model_dump()) == timing


def test_figures_beside_a_step_are_refused() -> None:
    with pytest.raises(ValueError, match="either step or prefill_ms_per_token"):
        Timing.model_validate({"step": COST, "prefill_ms_per_token": 1.0})
    with pytest.raises(ValueError, match="both of which ascend"):
        StepCost(linear_ms={2: 3.0, 4: 2.0})


# A card of 100 TFLOPs and 1 TB/s, of which all is reached, and a model of 5 GB.
PEAK = Reached(1, 1, 1, 1, mixed_reads=2, step_ms=0, layer_us=0, sequence_us=0)
CARD = {"flops_per_s": 1e14, "bandwidth_bytes_per_s": 1e12, "reached": PEAK}
MODEL = {
    "weight_bytes": 5e9,
    "active_parameters": 2.5e9,
    "kv_bytes_per_token": 100_000,
    "attention_width": 4096,
    "layers": 32,
}


def test_reading_the_weights_bounds_small_steps_and_arithmetic_large_ones() -> None:
    cost = derive(**CARD, **MODEL)
    # 5 GB at 1 TB/s; 16,384 tokens of 5 GFLOP each; 64 tokens: 5 and 3.2 ms, which overlap.
    assert cost.seconds(0, 0, 1, 0) == pytest.approx(0.005, rel=1e-3)
    assert cost.seconds(16_384, 0, 0, 0) == pytest.approx(0.8192, rel=1e-3)
    assert cost.seconds(64, 0, 0, 0) == pytest.approx(0.00594, rel=1e-3)


def test_context_is_read_and_beside_a_prefill_more_slowly() -> None:
    cost = derive(**CARD, **MODEL)
    alone = cost.seconds(0, 0, 1, 10_000) - cost.seconds(0, 0, 1, 0)
    mixed = cost.seconds(9, 0, 1, 10_000) - cost.seconds(9, 0, 1, 0)
    assert (alone, mixed) == pytest.approx((0.001, 0.002))
    # 32 layers of 4 x 4,096 FLOPs a pair.
    pair = cost.seconds(9, 1e6, 0, 0) - cost.seconds(9, 0, 0, 0)
    assert pair == pytest.approx(1e6 * 4 * 32 * 4096 / 1e14)


def test_experts_are_read_once_somebody_goes_to_them() -> None:
    cost = derive(**CARD, **MODEL, routed_bytes=4e9, routed_share=0.25)
    assert cost.seconds(0, 0, 1, 0) == pytest.approx(0.002, rel=1e-3)
    assert cost.seconds(0, 0, 2, 0) == pytest.approx(0.005 - 0.004 * 0.75**2, rel=1e-2)


def test_two_cards_halve_the_work_and_pay_for_the_link() -> None:
    one, two = derive(**CARD, **MODEL), derive(**CARD, **MODEL, cards=2)
    linked = derive(**CARD, **MODEL, cards=2, link_bytes_per_s=25e9, hidden_size=4096)
    assert two.seconds(1024, 0, 0, 0) == pytest.approx(one.seconds(1024, 0, 0, 0) / 2)
    # 64 all-reduces of 1,024 x 4,096 x 2 bytes.
    paid = linked.seconds(1024, 0, 0, 0) - two.seconds(1024, 0, 0, 0)
    assert paid == pytest.approx(64 * 1024 * 4096 * 2 / 25e9)


def test_a_curve_that_was_read_once_gives_the_same_again():
    points = Points({1: 8.0, 4: 8.3, 16: 10.7})
    assert interpolated(points, 10) == interpolated(points, 10) == interpolated(dict(points), 10)
    assert points.known == {10: interpolated(points, 10)}


def test_the_curves_of_a_profile_are_remembered_and_still_have_points():
    assert isinstance(StepCost(linear_ms={1: 8.0}).linear_ms, Points)
    with pytest.raises(ValidationError):
        StepCost(linear_ms={})
