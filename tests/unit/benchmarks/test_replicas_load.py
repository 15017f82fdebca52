"""What clients of many ingress replicas count."""

import pytest

from benchmarks.support.replicas_load import Told, _usage, per_second


def test_the_fullest_second_is_found_wherever_it_begins():
    """Five tokens within a second, and ten within five, of what came in time."""
    times = [0.5, 3.0, 3.6, 3.7, 3.8, 3.9, 4.1, 5.0, 6.0, 7.0, 7.9, 20.0]

    found = per_second(times, since=1.0, until=11.0)

    assert found == {"fullest_1_s": 5, "fullest_5_s_mean": 10 / 5, "mean": 10 / 10}


def test_turns_count_where_the_turn_before_was():
    """A session's first turn has none before it."""
    told = Told(places={"s1": ["a", "a", "b"], "s2": ["b", "b"], "s3": ["a"]})

    assert told.affinity() == (3, 2)


def test_usage_is_the_last_event_before_the_end():
    """Comments may come after it; a stream without an end is none."""
    tail = b'x\n\ndata: {"usage":{"prompt_tokens":7}}\n\ndata: [DONE]\n\n: server-timing\n\n'

    assert _usage(tail) == {"prompt_tokens": 7}
    with pytest.raises(ValueError, match="broke off"):
        _usage(tail.replace(b"[DONE]", b"{}"))
