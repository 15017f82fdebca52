"""The gate of 0.92."""

import pytest

from evals.replay.gate import GateVerdict, Paired, gate


def cases(right, wrong, incumbent=1.0):
    return [Paired(1, 1, incumbent, 1)] * right + [Paired(0, 1, incumbent, 1)] * wrong


@pytest.mark.parametrize(
    ("right", "wrong", "verdict"),
    [
        (3, 0, GateVerdict.TOO_FEW),
        (30, 0, GateVerdict.TOO_FEW),
        (60, 0, GateVerdict.PASS),
        (1000, 20, GateVerdict.PASS),
        (925, 75, GateVerdict.TOO_FEW),
        (800, 200, GateVerdict.FAIL),
        (10, 10, GateVerdict.FAIL),
        (0, 0, GateVerdict.TOO_FEW),
    ],
)
def test_what_the_cases_say_decides(right, wrong, verdict) -> None:
    assert gate(cases(right, wrong)).verdict is verdict


def test_it_is_relative_to_an_incumbent_that_is_wrong_itself() -> None:
    """0.85 of 0.9 is 0.94."""
    both = [Paired(1, 1, 1, 1)] * 850 + [Paired(0, 1, 1, 1)] * 50 + [Paired(0, 1, 0, 1)] * 100

    found = gate(both)

    assert found.verdict is GateVerdict.PASS
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(0.944, abs=0.001)
    assert found.ratio.low < found.ratio.value < found.ratio.high


def test_an_incumbent_that_gets_nothing_right_says_nothing() -> None:
    found = gate(cases(0, 50, incumbent=0.0))

    assert (found.verdict, found.ratio) == (GateVerdict.TOO_FEW, None)


def test_cases_without_calls_on_either_side_are_no_cases() -> None:
    assert gate([Paired(0, 0, 0, 0)] * 100).cases == 0


def test_a_bar_can_be_other_than_the_guides() -> None:
    assert gate(cases(850, 150), 0.8).verdict is GateVerdict.PASS
