"""Recorded requests, played to engines in virtual time."""

import math

from simulator.model.profile import load_profile
from simulator.virtual_time.trace import Recorded, play

PROFILE = load_profile("llama-3.1-8b-fp8-rtx4090")


def requests(count, gap_s, *, cached=0, sessions=4):
    return [Recorded(n * gap_s, 2000, cached, 100, n % sessions, n % 2) for n in range(count)]


def test_every_request_is_answered_and_the_same_play_gives_the_same():
    played = play(PROFILE, requests(40, 0.5))

    assert len(played.ttfts_s) == 40
    assert played.unfinished == 0
    assert played == play(PROFILE, requests(40, 0.5))


def test_what_was_found_in_the_cache_is_found_again():
    cold = play(PROFILE, requests(40, 0.5))
    warm = play(PROFILE, requests(40, 0.5, cached=1920))

    assert max(warm.ttfts_s) < 0.5 * min(cold.ttfts_s)


def test_more_replicas_leave_less_to_wait_for():
    one = play(PROFILE, requests(120, 0.05))
    two = play(PROFILE, requests(120, 0.05), replicas=2)

    assert two.waiting < one.waiting
    assert max(two.ttfts_s) < max(one.ttfts_s)
    assert two.tokens_per_s > one.tokens_per_s


def test_a_slow_card_has_longer_gaps():
    fast, slow = play(PROFILE, requests(10, 5)), play(PROFILE, requests(10, 5), slowdown=2)

    assert slow.itl_s > 1.9 * fast.itl_s


def test_what_is_longer_than_the_cache_is_left_out():
    played = play(PROFILE, [Recorded(0, 1_000_000, 0, 10, 0), *requests(2, 1)])

    assert len(played.ttfts_s) == 2


def test_steps_are_bounded_and_what_is_left_over_is_told():
    played = play(PROFILE, requests(40, 0.01), max_steps=60)

    assert 0 < played.unfinished <= 40
    assert math.isnan(play(PROFILE, []).tokens_per_s)


def test_prefixes_that_have_no_room_are_read():
    crowd = [Recorded(n * 2.0, 8000, 7900, 10, n, n) for n in range(40)]

    played = play(PROFILE, crowd)

    assert max(played.ttfts_s) > 5 * min(played.ttfts_s)
