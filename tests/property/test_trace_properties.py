"""Whatever requests come, in whatever order and at whichever ingress replica: a tree of spans."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from serve_app.protocol.trace_context import read_trace_context
from serve_app.request.call import Outcome
from tests.unit.serve_app.tracing.calls import (
    Clock,
    answer,
    called,
    make_call,
    make_tracer,
    result,
    user,
)

CLIENT = "00-{:032x}-{:016x}-{:02x}"

conversations = st.builds(
    lambda turns, steps, brings: [
        *(user(f"turn {n}") for n in range(turns)),
        *(x for n in range(steps) for x in (called(f"c{n}"), result(f"c{n}"))),
        *([called("c9")] if brings else []),
    ],
    st.integers(1, 3),
    st.integers(0, 3),
    st.booleans(),
)
parents = st.one_of(
    st.none(),
    st.none(),
    st.builds(CLIENT.format, st.integers(1, 3), st.integers(1, 3), st.integers(0, 1)),
)
asks = st.tuples(
    st.just("ask"),
    st.integers(0, 2),
    conversations,
    st.sampled_from(["acme", "guest"]),
    st.sampled_from(["t1", "t2"]),
    parents,
    st.booleans(),
)
ends = st.tuples(
    st.just("end"),
    st.integers(0, 20),
    st.sampled_from([*Outcome, Outcome.ANSWERED, Outcome.ANSWERED]),
    st.lists(st.sampled_from(["c0", "c1", "c2", "c9"]), max_size=3, unique=True),
)
passes = st.tuples(st.just("pass"), st.floats(0, 4000), st.booleans())
restarts = st.tuples(st.just("restart"), st.integers(0, 2))


class Replicas:
    """Three ingress replicas that share a clock and send to one collector."""

    def __init__(self, ratio: float) -> None:
        self.clock, self.spans, self.clients = Clock(), [], set()
        self._rng, self._ratio = random.Random(7), ratio
        self.tracers = [self._made() for _ in range(3)]
        self.running = []

    def _made(self):
        seed = self._rng.getrandbits(64)
        return make_tracer(self.spans.append, self.clock, seed, sample_ratio=self._ratio)

    def ask(self, at, messages, tenant, task, parent, is_named) -> None:
        headers = {} if parent is None else {b"traceparent": parent.encode()}
        call = make_call(messages, tenant=tenant, task=task, headers=headers, is_named=is_named)
        client = read_trace_context(headers)
        if client is not None:
            self.clients.add((client.trace_id, client.span_id))
        self.tracers[at].begin(call)
        self.running.append((self.tracers[at], call))

    def end(self, number, outcome, ids) -> None:
        if self.running:
            tracer, call = self.running.pop(number % len(self.running))
            answer(call, *ids, outcome=outcome)
            tracer.end(call)

    def let_pass(self, seconds, *, sweeps) -> None:
        self.clock.pass_s(seconds)
        for tracer in self.tracers if sweeps else ():
            tracer.tasks.sweep(self.clock())

    def restart(self, at) -> None:
        """The replica drains, ends what is open, and another takes its place."""
        old = self.tracers[at]
        for tracer, call in [x for x in self.running if x[0] is old]:
            self.running.remove((tracer, call))
            answer(call, outcome=Outcome.LEFT)
            tracer.end(call)
        old.close()
        self.tracers[at] = self._made()

    def finish(self) -> None:
        for at in range(3):
            self.restart(at)


def played(events, ratio) -> Replicas:
    made = Replicas(ratio)
    for kind, *rest in events:
        if kind == "ask":
            made.ask(*rest)
        elif kind == "end":
            made.end(*rest)
        elif kind == "pass":
            made.let_pass(rest[0], sweeps=rest[1])
        else:
            made.restart(*rest)
    made.finish()
    return made


@given(
    st.lists(st.one_of(asks, asks, ends, ends, passes, restarts), max_size=40),
    st.sampled_from([1.0, 1.0, 0.5]),
)
def test_any_sequence_of_requests_is_a_well_formed_tree(events, ratio):
    made = played(events, ratio)

    by_id = {(x.context.trace_id, x.context.span_id): x for x in made.spans}
    assert max(Counter(x.context.span_id for x in made.spans).values(), default=1) == 1
    for span in made.spans:
        assert span.start_ns <= span.end_ns
        key = (span.context.trace_id, span.parent_id)
        if span.has_remote_parent:
            assert key in made.clients and key not in by_id
        elif span.parent_id is None:
            assert span.name == "invoke_workflow"
        else:
            above = by_id[key]
            assert above.name in ("invoke_agent", "invoke_workflow")
            assert above.start_ns <= span.start_ns and span.end_ns <= above.end_ns
            assert above.attributes["pointsman.tenant.id"] == span.attributes["pointsman.tenant.id"]
    # No memory of what has ended.
    assert all(len(tracer.tasks) == 0 for tracer in made.tracers)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), min_size=2, max_size=8),
    st.booleans(),
)
def test_a_task_is_one_trace_whichever_replicas_serve_it(requests, is_named):
    made = Replicas(1.0)
    for at, turns in requests:
        made.ask(at, [user(f"turn {n}") for n in range(turns)], "acme", "t", None, is_named)
        made.end(0, Outcome.ANSWERED, [])
    made.finish()

    assert len({x.context.trace_id for x in made.spans}) == 1
