"""Cutting a history takes work in proportion to it, by count: no clock is asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.routing import history
from router.routing.history import HistoryBudget, Kind, Piece, plan_history

WORK_PER_PART = 8
"""Members of sets that are looked at for each piece, call and answer."""


class CountingSet(set):
    """Counts the members that its operations go through."""

    work = 0

    def difference(self, *others):
        CountingSet.work += len(self) + sum(map(len, others))
        return CountingSet(super().difference(*others))

    def difference_update(self, *others):
        CountingSet.work += sum(map(len, others))
        super().difference_update(*others)

    def update(self, *others):
        CountingSet.work += sum(map(len, others))
        super().update(*others)


class CountingList(list):
    """Counts the pieces that are read, alone or in slices."""

    reads = 0

    def __getitem__(self, at):
        found = super().__getitem__(at)
        CountingList.reads += len(found) if isinstance(at, slice) else 1
        return found

    def __iter__(self):
        for piece in super().__iter__():
            CountingList.reads += 1
            yield piece


def work_of(pieces, budget) -> int:
    CountingSet.work = CountingList.reads = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "set", CountingSet, raising=False)
        plan_history(CountingList(pieces), budget)
    return CountingSet.work + CountingList.reads


def calls_then_results(rounds, calls):
    """All of the calls at once, then a result for each: the most that can be open."""
    for number in range(rounds):
        ids = tuple(f"{number}-{call}" for call in range(calls))
        yield Piece(Kind.USER, 5)
        yield Piece(Kind.MODEL, 5, calls=ids)
        for name in ids:
            yield Piece(Kind.RESULT, 5, answers=(name,))


IDS = st.integers(0, 30).map(str)
wild = st.one_of(
    st.tuples(st.sampled_from([Kind.PINNED, Kind.USER]), st.integers(1, 40)),
    st.tuples(st.just(Kind.MODEL), st.integers(1, 40), st.lists(IDS, max_size=30).map(tuple)),
    st.tuples(
        st.just(Kind.RESULT),
        st.integers(1, 40),
        st.just(()),
        st.lists(IDS, max_size=3).map(tuple),
    ),
).map(lambda fields: Piece(*fields))


@given(
    pieces=st.lists(wild, max_size=60)
    | st.builds(lambda *x: list(calls_then_results(*x)), st.integers(1, 4), st.integers(0, 300)),
    high=st.integers(2, 300),
)
def test_the_work_is_linear_in_pieces_calls_and_answers(pieces, high):
    """Also where hundreds of calls are open at once."""
    size = sum(1 + len(piece.calls) + len(piece.answers) for piece in pieces)

    assert work_of(pieces, HistoryBudget(high, high // 2 or 1)) <= WORK_PER_PART * (size + 1)


def test_twice_the_history_is_twice_the_work():
    """Of one round of calls: it was four times."""
    budget = HistoryBudget(1000, 500)
    once = work_of(list(calls_then_results(1, 1000)), budget)
    twice = work_of(list(calls_then_results(1, 2000)), budget)

    assert twice <= 2.2 * once
