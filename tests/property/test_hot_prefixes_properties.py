"""What must always hold of the record of hot prefixes."""

from hypothesis import given
from hypothesis import strategies as st

from router.placement.hot_prefixes import HotPrefixes
from tests.unit.router.placement.held import check_bounds

HALF_LIFE_S = 60.0
REQUESTS = st.lists(
    st.tuples(
        st.floats(0, 300),
        st.sampled_from(["chat", "quality"]),
        st.sampled_from("ab"),
        st.sampled_from([b"x", b"y" * 40, b"z" * 90, b"w" * 200]),
    ),
    max_size=60,
)


def timed(requests):
    now = 0.0
    for gap, *rest in requests:
        now += gap
        yield now, *rest


@given(REQUESTS)
def test_the_bounds_hold_whatever_comes(requests):
    hot = HotPrefixes(3, 800, HALF_LIFE_S)

    for now, lane, group, prefix in timed(requests):
        hot.note(lane, group, prefix, now=now)
        check_bounds(hot, 3, 800, "chat", "quality")


@given(REQUESTS)
def test_without_bounds_weights_are_the_decayed_counts(requests):
    """The logarithm that is kept is the sum that is meant."""
    hot = HotPrefixes(1000, 10**6, HALF_LIFE_S)
    seen = list(timed(requests))
    for now, lane, group, prefix in seen:
        hot.note(lane, group, prefix, now=now)
    end = (seen[-1][0] if seen else 0.0) + 30.0

    for lane in ("chat", "quality"):
        found = hot.hottest(lane, 1000, now=end)
        assert [x.weight for x in found] == sorted((x.weight for x in found), reverse=True)
        wanted = {}
        for at, where, group, prefix in seen:
            if where == lane:
                key = group, prefix
                wanted[key] = wanted.get(key, 0.0) + 2 ** ((at - end) / HALF_LIFE_S)
        assert {(x.group, x.prefix) for x in found} == set(wanted)
        for x in found:
            # Sums of logarithms, over hundreds of half-lives.
            assert abs(x.weight / wanted[x.group, x.prefix] - 1) < 1e-6
