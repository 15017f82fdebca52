"""Strides: how few they are, and what an engine forgets of them."""

from __future__ import annotations

import pytest

from simulator.model import striding
from simulator.model.profile import Scheduling, Timing
from simulator.model.sequence import Sequence
from simulator.model.striding import LONGEST, StridingEngine

TIMING = Timing(decode_step_ms={1: 10.0, 8: 20.0}, prefill_ms_per_token=0.05)


def engine(clock=lambda: 0.0):
    scheduling = Scheduling(max_num_seqs=8, num_gpu_blocks=1000)
    return StridingEngine(TIMING, scheduling, clock, keeps_step_times=True)


def test_an_answer_alone_takes_a_few_strides():
    one = engine()
    one.add(Sequence(100, 1001, lambda index: index), 0.0)

    advances = 0
    while one.next_at is not None:
        one.advance()
        advances += 1

    assert one.decode_steps == 1000
    assert advances <= 7 + 1000 / LONGEST


def test_within_a_stride_it_tells_of_the_present():
    now = 0.0
    one = engine(lambda: now)
    sequence = Sequence(100, 1000, lambda index: index)
    one.add(sequence, 0.0)
    one.advance()

    now = 0.005 + 0.010 * 40 + 0.001
    while one.next_at <= now:
        one.advance()

    assert one.generated(sequence) == 41
    assert one.utilization() == pytest.approx((141 / 16) / 1000, abs=1e-3)


def test_an_abort_is_heard_before_the_stride_would_have_ended():
    now = 0.0
    one = engine(lambda: now)
    sequence = Sequence(100, 1000, lambda index: index)
    one.add(sequence, 0.0)
    one.advance()
    far = one.next_at

    now = 0.1
    one.abort(sequence)

    assert one.next_at < far
    one.advance()
    assert one.next_at is None


def test_step_ends_that_nobody_needs_are_forgotten(monkeypatch):
    monkeypatch.setattr(striding, "KEPT_STEP_ENDS", 50)
    one = engine()
    for number in range(5):
        sequence = Sequence(10, 100, lambda index, own=1000 * number: own + index)
        one.add(sequence, 10.0 * number)
        while one.next_at is not None:
            for ended in one.advance().finished:
                (segment,) = ended.segments
                ends = one.ended(*segment)
                assert len(ends) == 99
                assert ends[-1] == ended.finished_at

    assert one.decode_steps == 5 * 99
    assert len(one.step_ends) < 3 * 99
