"""Which replica of a lane keeps a session."""

from router.placement.replica import rank_replicas, weight


def test_the_weight_of_a_pair_never_changes():
    """The weights are part of the deployment: other processes compute the same ones."""
    assert weight("tenant\0session", "replica-1").hex() == "89adae7bf5a8b6e8"


def test_the_replica_with_the_largest_weight_comes_first():
    """Ranking is by weight, largest first."""
    replicas = ["a", "b", "c", "d"]

    ranked = rank_replicas("session", replicas)

    weights = [weight("session", replica) for replica in ranked]
    assert weights == sorted(weights, reverse=True)


def test_replicas_to_avoid_come_last_in_their_own_order():
    """A replica that failed is tried again only when nothing else is left."""
    replicas = ["a", "b", "c", "d"]
    plain = rank_replicas("session", replicas)
    avoid = frozenset({plain[0], plain[2]})

    ranked = rank_replicas("session", replicas, avoid)

    assert ranked == [plain[1], plain[3], plain[0], plain[2]]


def test_avoiding_an_unknown_replica_changes_nothing():
    """A replica that has left already is no concern."""
    replicas = ["a", "b", "c"]

    ranked = rank_replicas("session", replicas, frozenset({"gone"}))

    assert ranked == rank_replicas("session", replicas)


def test_no_replicas_rank_to_nothing():
    """An empty lane has an empty ranking."""
    assert rank_replicas("session", []) == []
