"""An engine that strides shows what one that goes step by step shows, to the last bit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from simulator.model.engine import BatchingEngine, Sequence
from simulator.model.profile import Scheduling, Timing
from simulator.model.step_cost import StepCost
from simulator.model.striding import StridingEngine
from tests.examples import examples

STEP = StepCost(
    linear_ms={1: 0.7, 8: 1.9}, sequence_us=11, prefill_pair_ns=90, context_ns=700, fixed_ms=0.3
)
TIMINGS = {
    "curve": Timing(
        decode_step_ms={1: 1.0, 8: 2.0},
        prefill_ms_per_token=0.05,
        interference=0.4,
        context_ns_per_token=900,
        reference_context=40,
        warm_up_s=0.05,
    ),
    "kernels": Timing.model_validate({"step": STEP}),
}

asks = st.tuples(
    st.floats(0, 0.4),  # arrival
    st.integers(1, 120),  # prompt
    st.integers(1, 150),  # output
    st.integers(0, 3),  # owner of the prefix
    st.integers(0, 2),  # priority
    st.one_of(st.none(), st.floats(0, 0.2)),  # aborted so long after its arrival
)


class Told:
    """Drives one engine and writes down all that can be seen of it."""

    def __init__(self, timing, scheduling, *, strides, slowdown):
        self.now, self.seen, self.advances = 0.0, [], 0
        if strides:
            self.engine = StridingEngine(
                timing, scheduling, lambda: self.now, keeps_step_times=True
            )
        else:
            self.engine = BatchingEngine(timing, scheduling, keeps_step_times=True)
        self.engine.slowdown = slowdown

    def until(self, at):
        """Let every step end that ends by a time."""
        engine = self.engine
        while engine.next_at is not None and engine.next_at <= at:
            self.now = engine.next_at
            self.advances += 1
            result = engine.advance()
            for what in (result.first, result.finished):
                self.seen += [(self.now, sequence.number) for sequence in what]
            for one in result.finished:
                self.seen += [engine.ended(*segment) for segment in one.segments]

    def run(self, given_asks, looks):
        sequences = [
            Sequence(prompt, output, lambda i, w=owner: w * 10_000 + i, priority)
            for _, prompt, output, owner, priority, _ in given_asks
        ]
        events = [(at, "look", None) for at in looks]
        for (at, *_, stays), sequence in zip(given_asks, sequences, strict=True):
            events.append((at, "add", sequence))
            if stays is not None:
                events.append((at + stays, "abort", sequence))
        for at, what, sequence in sorted(events, key=lambda event: event[:2]):
            self.until(at)
            self.now = at
            self.do(what, sequence, sequences)
        self.until(float("inf"))
        engine, pool = self.engine, self.engine.pool
        counts = engine.steps, engine.decode_steps, engine.preemptions
        self.seen.append((*counts, pool.in_use, pool.cached, pool.evictions))
        self.seen += [(s.cached_tokens, s.first_token_at, s.finished_at) for s in sequences]
        self.seen.append(engine.step_ends)

    def do(self, what, sequence, sequences):
        engine = self.engine
        if what == "add":
            engine.add(sequence, self.now)
        elif what == "abort":
            engine.abort(sequence)
        else:
            self.seen.append((engine.utilization(), engine.running, engine.waiting))
            self.seen.append([engine.generated(one) for one in sequences])


@examples(150)
@given(
    st.lists(asks, min_size=1, max_size=10),
    st.lists(st.floats(0, 0.6), max_size=6),
    st.sampled_from([18, 24, 40, 200]),
    st.integers(1, 6),
    st.booleans(),
    st.booleans(),
    st.sampled_from(sorted(TIMINGS)),
    st.sampled_from([1.0, 1.3]),
)
def test_a_stride_shows_what_its_steps_would(
    given_asks, looks, blocks, seqs, chunked, ahead, timing, slowdown
):
    scheduling = Scheduling(
        max_num_seqs=seqs,
        max_num_batched_tokens=64 if chunked else 128,
        enable_chunked_prefill=chunked,
        async_scheduling=ahead,
        num_gpu_blocks=blocks,
    )
    step_by_step = Told(TIMINGS[timing], scheduling, strides=False, slowdown=slowdown)
    striding = Told(TIMINGS[timing], scheduling, strides=True, slowdown=slowdown)

    step_by_step.run(given_asks, looks)
    striding.run(given_asks, looks)

    assert striding.seen == step_by_step.seen
    assert striding.advances <= step_by_step.advances
