"""The regression set that is shipped."""

from benchmarks.support.replay_dtypes import regression_cases


def test_each_line_is_a_case_of_its_own_with_a_bounded_answer() -> None:
    cases = regression_cases()

    assert len({case.digest for case in cases}) == len(cases) == 40
    assert sum(bool(case.answers) for case in cases) == 30
    assert all(0 < case.body["max_tokens"] <= 64 for case in cases)
