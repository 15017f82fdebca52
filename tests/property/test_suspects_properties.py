"""A request that ends every replica that reads it ends few; one that does not is let be."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from router.recovery.suspects import BACKOFF_S, MAX_BACKOFF_S, MAX_LOSSES, Suspects

arrivals = st.lists(st.floats(0, 30), min_size=1, max_size=200)


@given(arrivals)
def test_a_deadly_request_costs_few_replicas_however_often_it_is_sent(gaps):
    """Two, then one each time that a wait which doubles is over."""
    suspects = Suspects()
    now, lost_at = 0.0, []

    for gap in gaps:
        now += gap
        if suspects.try_begin(b"deadly", now=now):
            continue
        losses = suspects.losses(b"deadly", now=now)
        while True:
            losses += 1
            lost_at.append(now)
            suspects.note_loss(b"deadly", losses, now=now)
            if losses >= MAX_LOSSES:
                break

    waits = [b - a for a, b in pairwise(lost_at[1:])]
    for number, wait in enumerate(waits):
        assert wait >= min(MAX_BACKOFF_S, BACKOFF_S * 2**number) - 1e-6


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.floats(0, 500)), max_size=60))
def test_nothing_waits_for_ever_and_an_answer_frees_at_once(steps):
    """The longest wait bounds every wait; memory is bounded by what was lost."""
    suspects = Suspects(most=2)
    now = 0.0

    for name, is_answer, passed_s in steps:
        now += passed_s
        digest = name.encode()
        if is_answer:
            suspects.note_answer(digest)
            assert suspects.wait_s(digest, now=now) == 0
        else:
            suspects.note_loss(digest, suspects.losses(digest, now=now) + 1, now=now)
        assert suspects.wait_s(digest, now=now) <= MAX_BACKOFF_S
        assert len(suspects) <= 2
