"""What must always hold of the choice of a replica."""

from hypothesis import given
from hypothesis import strategies as st

from router.placement.replica import rank_replicas

SESSIONS = [f"tenant-{i % 40}\0session-{i}" for i in range(2_000)]

names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)
replica_sets = st.lists(names, unique=True, max_size=12)


@given(key=names, replicas=replica_sets, data=st.data())
def test_a_ranking_is_a_permutation_of_the_replicas(key, replicas, data):
    """No replica is lost, made up or named twice, whatever is to be avoided."""
    avoid = frozenset(data.draw(st.lists(st.sampled_from([*replicas, "gone"]))))

    ranked = rank_replicas(key, replicas, avoid)

    assert sorted(ranked) == sorted(replicas)
    kept = [replica for replica in ranked if replica not in avoid]
    assert ranked[: len(kept)] == kept


@given(key=names, replicas=replica_sets, data=st.data())
def test_the_order_in_which_replicas_are_listed_is_irrelevant(key, replicas, data):
    """Every ingress replica reaches the same ranking."""
    shuffled = data.draw(st.permutations(replicas))

    assert rank_replicas(key, shuffled) == rank_replicas(key, replicas)


@given(key=names, replicas=replica_sets.filter(lambda x: len(x) > 1), data=st.data())
def test_a_replica_that_leaves_moves_only_its_own_sessions(key, replicas, data):
    """The order of the others stays as it was."""
    gone = data.draw(st.sampled_from(replicas))

    before = rank_replicas(key, replicas)
    after = rank_replicas(key, [replica for replica in replicas if replica != gone])

    assert after == [replica for replica in before if replica != gone]


@given(count=st.integers(1, 12))
def test_a_new_replica_takes_over_about_its_share_of_the_sessions(count):
    """Adding one to N replicas moves 1/(N+1) of the sessions, all of them to it."""
    replicas = [f"replica-{i}" for i in range(count)]

    before = [rank_replicas(key, replicas)[0] for key in SESSIONS]
    after = [rank_replicas(key, [*replicas, "new"])[0] for key in SESSIONS]

    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    share = 1 / (count + 1)
    # Five standard deviations of a binomial share over the sessions.
    margin = 5 * (share * (1 - share) / len(SESSIONS)) ** 0.5
    assert set(moved) == {"new"}
    assert abs(len(moved) / len(SESSIONS) - share) < margin


def test_sessions_spread_evenly_over_replicas():
    """Each of N replicas gets about 1/N of the sessions."""
    replicas = [f"replica-{i}" for i in range(5)]
    chosen = [rank_replicas(key, replicas)[0] for key in SESSIONS]

    shares = [chosen.count(replica) / len(SESSIONS) for replica in replicas]

    assert all(abs(share - 0.2) < 5 * (0.2 * 0.8 / len(SESSIONS)) ** 0.5 for share in shares)
