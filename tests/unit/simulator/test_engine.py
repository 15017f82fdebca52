"""The scheduler's rules, one at a time, in virtual time."""

from __future__ import annotations

import pytest

from simulator.model.engine import BatchingEngine, Sequence, StepResult
from simulator.model.profile import Scheduling, Timing


def timing(**changes: object) -> Timing:
    """One ms a decode step at any batch, 0.1 ms a prompt token."""
    fields = {"decode_step_ms": {1: 1.0, 64: 1.0}, "prefill_ms_per_token": 0.1, **changes}
    return Timing.model_validate(fields)


def scheduling(**changes: object) -> Scheduling:
    fields = {"max_num_seqs": 8, "max_num_batched_tokens": 512, "num_gpu_blocks": 1000, **changes}
    return Scheduling.model_validate(fields)


def engine(time: Timing | None = None, **changes: object) -> BatchingEngine:
    return BatchingEngine(
        time or timing(), scheduling(**changes), lists_decoded=True, keeps_step_times=True
    )


def sequence(owner: int, prompt: int, output: int, priority: int = 0) -> Sequence:
    return Sequence(prompt, output, lambda index: (owner << 32) + index, priority)


def drain(model: BatchingEngine, limit: int = 100_000) -> list[StepResult]:
    results = []
    while model.next_at is not None:
        results.append(model.advance())
        assert len(results) < limit, "the engine does not come to rest"
    return results


def test_one_sequence_takes_prefill_and_a_step_for_each_further_token() -> None:
    model, one = engine(), sequence(1, 100, 5)
    model.add(one, 2.0)
    drain(model)
    assert one.first_token_at == pytest.approx(2.0 + 0.010)
    assert one.finished_at == pytest.approx(2.0 + 0.010 + 4 * 0.001)
    assert model.generated(one) == 5
    assert model.pool.in_use == 0


def test_decode_time_follows_the_curve_between_and_beyond_its_points() -> None:
    curve = timing(decode_step_ms={1: 1.0, 3: 5.0, 4: 6.0})
    seconds = [curve.seconds(0, 0, batch, 0) for batch in (1, 2, 3, 4, 6)]
    assert seconds == pytest.approx([0.001, 0.003, 0.005, 0.006, 0.008])


def test_long_contexts_slow_decoding_down() -> None:
    slow = timing(context_ns_per_token=1000, reference_context=100)
    model, one = engine(slow), sequence(1, 400, 2)
    model.add(one, 0.0)
    drain(model)
    assert one.first_token_at is not None and one.finished_at is not None
    # 1 ms and 300 tokens past the reference at 1 us each.
    assert one.finished_at - one.first_token_at == pytest.approx(0.0013)


def test_chunks_share_steps_with_decoding() -> None:
    model, talker, paste = engine(), sequence(1, 10, 500), sequence(2, 1000, 1)
    model.add(talker, 0.0)
    while model.decode_steps < 3:
        model.advance()
    model.add(paste, model.next_at or 0.0)
    before = model.generated(talker)
    while paste.first_token_at is None:
        model.advance()
    # 511 tokens beside one that decodes, then the rest: the talker never stood still.
    assert model.generated(talker) - before == 3


def test_without_chunks_decoding_stands_still_for_a_whole_prompt() -> None:
    model = engine(enable_chunked_prefill=False, max_num_batched_tokens=4096)
    talker, paste = sequence(1, 10, 500), sequence(2, 1000, 1)
    model.add(talker, 0.0)
    while model.decode_steps < 3:
        model.advance()
    model.add(paste, model.next_at or 0.0)
    drain(model)
    gaps = [b - a for a, b in zip(model.step_ends, model.step_ends[1:], strict=False)]
    assert max(gaps) == pytest.approx(0.1 + 0.001)


def test_interference_is_the_share_of_the_smaller_part_that_shows() -> None:
    for share, expected in ((0.0, 10.0), (0.5, 10.5), (1.0, 11.0)):
        model = engine(timing(interference=share))
        talker, other = sequence(1, 10, 50), sequence(2, 100, 1)
        model.add(talker, 0.0)
        model.advance()
        model.add(other, model.next_at or 0.0)
        model.advance()
        begun = model.step_ends[-1]
        model.advance()
        assert 1000 * (model.step_ends[-1] - begun) == pytest.approx(expected)


def test_no_more_than_max_num_seqs_run() -> None:
    model = engine(max_num_seqs=3, max_num_batched_tokens=512)
    for owner in range(5):
        model.add(sequence(owner, 10, 4), 0.0)
    assert (model.running, model.waiting) == (1, 4)  # the first came to an idle engine
    model.advance()
    assert (model.running, model.waiting) == (3, 2)
    drain(model)
    assert (model.running, model.waiting) == (0, 0)


def test_priority_goes_before_arrival() -> None:
    for policy, first in (("priority", 3), ("fcfs", 2)):
        model = engine(max_num_seqs=1, scheduling_policy=policy)
        made = {number: sequence(number, 10, 5, priority=-number) for number in (1, 2, 3)}
        for one in made.values():
            model.add(one, 0.0)
        order = [one for result in drain(model) for one in result.finished]
        assert order[1] is made[first]


def test_a_known_prefix_is_not_computed_again() -> None:
    model = engine()
    first, again, other = sequence(1, 100, 1), sequence(1, 100, 1), sequence(2, 100, 1)
    for one in (first, again, other):
        model.add(one, 10.0)
        drain(model)
    # 6 of the 6.25 blocks of 16.
    assert (first.cached_tokens, again.cached_tokens, other.cached_tokens) == (0, 96, 0)
    assert again.first_token_at == pytest.approx(10.0 + 0.0004)


def test_answers_are_cached_too() -> None:
    model, first = engine(), sequence(1, 20, 30)
    model.add(first, 0.0)
    drain(model)
    following = sequence(1, 100, 1)
    model.add(following, 1.0)
    drain(model)
    # The last token's KV is never computed: 49 tokens, 3 blocks.
    assert following.cached_tokens == 48


def test_a_whole_prompt_in_the_cache_still_computes_its_last_block() -> None:
    model = engine()
    for _ in range(2):
        one = sequence(1, 64, 1)
        model.add(one, 0.0)
        drain(model)
    assert one.cached_tokens == 48


def test_prefix_caching_can_be_off() -> None:
    model = engine(enable_prefix_caching=False)
    for _ in range(2):
        one = sequence(1, 64, 1)
        model.add(one, 0.0)
        drain(model)
    assert one.cached_tokens == 0 and model.pool.cached == 0


def test_the_oldest_idle_blocks_are_evicted_first() -> None:
    model = engine(num_gpu_blocks=10)
    for owner in (1, 2, 3):  # four blocks each
        model.add(sequence(owner, 64, 1), 0.0)
        drain(model)
    newest, oldest = sequence(3, 65, 1), sequence(1, 65, 1)
    model.add(newest, 1.0)
    drain(model)
    model.add(oldest, 1.0)
    drain(model)
    assert newest.cached_tokens == 64
    # The end of a prefix goes before its start.
    assert oldest.cached_tokens < 64
    assert model.pool.evictions > 0


def test_an_exhausted_cache_preempts_the_newest_and_loses_nothing() -> None:
    model = engine(num_gpu_blocks=10)
    old, new = sequence(1, 60, 60), sequence(2, 60, 60)
    model.add(old, 0.0)
    model.add(new, 0.0)
    results = drain(model)
    assert old.preemptions == 0 and new.preemptions > 0
    for one in (old, new):
        seen = sum((r.first + r.decoded).count(one) for r in results)
        assert seen == model.generated(one) == 60
    assert model.pool.in_use == 0


def test_under_priority_the_least_important_is_preempted() -> None:
    model = engine(num_gpu_blocks=10)
    free, paid = sequence(1, 60, 60, priority=5), sequence(2, 60, 60, priority=0)
    model.add(free, 0.0)
    model.add(paid, 0.0)
    drain(model)
    assert free.preemptions > 0 and paid.preemptions == 0


def test_what_can_never_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than the KV cache"):
        engine(num_gpu_blocks=4).add(sequence(1, 60, 10), 0.0)


def test_abort_in_every_state() -> None:
    model = engine(max_num_seqs=2, max_num_batched_tokens=32)
    decoding, filling, waiting = sequence(1, 5, 100), sequence(2, 300, 5), sequence(3, 5, 5)
    model.add(decoding, 0.0)
    model.advance()
    model.add(filling, 0.0)
    model.add(waiting, 0.0)
    model.advance()
    assert (model.running, model.waiting) == (2, 1)
    for one in (waiting, filling, decoding):
        model.abort(one)
        model.abort(one)
    assert (model.running, model.waiting) == (0, 0)
    drain(model)
    assert model.pool.in_use == 0
    assert all(one.finished_at is None and one.aborted for one in (waiting, filling, decoding))


def test_a_finished_sequence_cannot_be_aborted() -> None:
    model, one = engine(), sequence(1, 5, 1)
    model.add(one, 0.0)
    drain(model)
    model.abort(one)
    assert not one.aborted and one.finished_at is not None


def test_the_first_step_pays_for_warm_up() -> None:
    model = engine(timing(warm_up_s=8))
    cold, warm = sequence(1, 10, 1), sequence(2, 10, 1)
    model.add(cold, 0.0)
    drain(model)
    model.add(warm, 100.0)
    drain(model)
    assert cold.first_token_at == pytest.approx(8.001)
    assert warm.first_token_at == pytest.approx(100.001)


def test_a_throttled_card_takes_longer() -> None:
    model, one = engine(), sequence(1, 10, 2)
    model.slowdown = 3.0
    model.add(one, 0.0)
    drain(model)
    assert one.finished_at == pytest.approx(3 * 0.002)


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="at least max_num_seqs"):
        scheduling(max_num_seqs=64, max_num_batched_tokens=32)
    with pytest.raises(ValueError, match="ascend"):
        timing(decode_step_ms={1: 5.0, 2: 4.0})
    with pytest.raises(ValueError, match="positive"):
        timing(decode_step_ms={1: 0.0})
    with pytest.raises(ValueError, match="at least one token"):
        sequence(1, 0, 1)


def test_who_comes_during_warm_up_shares_the_first_step() -> None:
    model = engine(timing(warm_up_s=8))
    first, second = sequence(1, 10, 1), sequence(2, 20, 1)
    model.add(first, 0.0)
    model.add(second, 7.0)
    drain(model)
    assert first.first_token_at == second.first_token_at == pytest.approx(8.003)


def test_a_step_scheduled_ahead_does_not_know_who_came_after() -> None:
    model = engine(async_scheduling=True)
    talker, late = sequence(1, 10, 100), sequence(2, 10, 1)
    model.add(talker, 0.0)
    # The prefill takes 1 ms; the decode step behind it is decided on already.
    model.add(late, 0.0005)
    drain(model)
    assert late.scheduled_at == pytest.approx(0.001)
    assert late.first_token_at == pytest.approx(0.001 + 0.001 + 0.001)


def test_scheduled_ahead_an_answer_is_as_long_and_its_blocks_come_back_when_it_ends() -> None:
    model, one = engine(async_scheduling=True), sequence(1, 17, 4)
    model.add(one, 0.0)
    results = drain(model)
    assert one.finished_at == pytest.approx(0.0017 + 3 * 0.001)
    assert sum(len(result.first) + len(result.decoded) for result in results) == 4
    assert (model.running, model.pool.in_use) == (0, 0)


def test_a_prompt_begins_only_once_all_of_it_fits() -> None:
    fields = {"num_gpu_blocks": 20, "max_num_batched_tokens": 64}
    for reserves, preempted in ((False, True), (True, False)):
        model = engine(scheduler_reserve_full_isl=reserves, **fields)
        older, younger = sequence(1, 160, 80), sequence(2, 200, 2)
        model.add(older, 0.0)
        model.add(younger, 0.0)
        drain(model)
        assert (younger.preemptions > 0) == preempted
        assert (younger.scheduled_at or 0.0) > 0.02 or preempted
