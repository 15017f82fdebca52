"""The history of daily replays."""

from dataclasses import replace

import pytest

from evals.replay.history import STALE_S, Day, alike, days_of, fallen, newest_f1

DAY = Day(at=1000.0, day="2026-11-30", lane="agent", against="gold", calls_wanted=50,
          selection_f1=0.9, tools={"find": 0.9, "refund": 1.0})  # fmt: skip


def test_a_history_is_read_oldest_first_and_without_what_cannot_be_read() -> None:
    later = replace(DAY, at=2000.0)
    damaged = ['{"at": 1, "day"', '"text"', '{"at": "x", "day": "", "lane": "", "against": ""}']
    of_another_release = DAY.line().replace('"cases"', '"a_later_figure": 1, "cases"')
    lines = [later.line(), *damaged, of_another_release]

    assert days_of(lines) == [DAY, later]


@pytest.mark.parametrize(
    ("change", "lane", "age_s", "found"),
    [
        ({}, "agent", 0.0, (0.9, 50)),
        ({}, "agent", STALE_S, (0.9, 50)),
        ({}, "agent", STALE_S + 1, None),
        ({}, "chat", 0.0, None),
        ({"against": "chat (traces)"}, "agent", 0.0, None),
        ({"selection_f1": None}, "agent", 0.0, None),
    ],
)
def test_advice_gets_the_newest_figure_against_gold(change, lane, age_s, found) -> None:
    """Older than two days, or agreement with traces, is no figure."""
    assert newest_f1([replace(DAY, **change)], lane, 1000.0 + age_s) == found


def test_an_old_good_day_does_not_hide_a_newer_bad_one() -> None:
    assert newest_f1([DAY, replace(DAY, at=2000.0, selection_f1=0.5)], "agent", 2000.0) == (0.5, 50)


def test_a_tool_that_fell_is_named_with_its_median_of_the_week() -> None:
    days = [replace(DAY, at=float(n)) for n in range(8)]
    today = replace(DAY, at=9.0, tools={"find": 0.88, "refund": 0.5, "new": 0.1})

    assert fallen([*days, today]) == {"refund": (1.0, 0.5)}
    assert fallen([today]) == {}


def test_a_day_that_was_replayed_again_counts_once_by_its_later_result() -> None:
    next_day = replace(DAY, at=2000.0, day="2026-12-01")
    again = replace(DAY, at=3000.0, selection_f1=0.7)

    assert alike([DAY, next_day, again], again) == [next_day, again]


def test_days_of_other_lanes_do_not_compare() -> None:
    assert alike([DAY, replace(DAY, lane="chat"), replace(DAY, against="x")], DAY) == [DAY]
