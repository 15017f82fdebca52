"""Two classifiers on the same requests."""

from evals.replay.classifiers import moves


def test_as_many_go_up_with_either_and_the_others_are_named() -> None:
    found = moves([0.9, 0.8, 0.1, 0.2], [0.1, 0.7, 0.9, 0.2], share=0.5)

    assert (found.up, found.down, found.both) == ((2,), (0,), 1)
    assert found.rank_correlation is not None
    assert found.rank_correlation < 0


def test_the_same_order_moves_nobody_whatever_the_scale() -> None:
    found = moves([0.1, 0.2, 0.3], [10, 20, 30], share=0.34)

    assert (found.up, found.down, found.rank_correlation) == ((), (), 1.0)


def test_scores_that_are_all_equal_have_no_order() -> None:
    assert moves([0.5, 0.5], [0.1, 0.9], share=0.5).rank_correlation is None
