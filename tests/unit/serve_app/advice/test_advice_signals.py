"""Two texts of a deployment become one point of each signal."""

import pytest

from serve_app.advice.decoding import decode_s, token_s
from serve_app.advice.exposition import Counted, Scrape
from serve_app.advice.signals import LaneShape, Signals
from simulator.model.profile import load_profile
from tests.unit.serve_app.advice.texts import text

PROFILE = load_profile("llama-3.1-8b-fp8-rtx4090")
SHAPE = {"chat": LaneShape(replicas=2, slots=32, window=8192, profile=PROFILE)}
STEP_S = 15.0


def between(before, after, shape=None):
    signals = Signals()
    assert signals.take(Scrape(before), STEP_S, shape or SHAPE) == {}
    return signals.take(Scrape(after), STEP_S, shape or SHAPE)


def test_gauges_are_readings_relative_to_the_lane():
    values = between(text(), text(running=20, waiting=6, kv=0.5, sessions=24))

    assert values["kv_use", "chat"] == (0.5, 1)
    assert values["waiting", "chat"] == (6, 1)
    assert values["active_sessions", "chat"] == (24, 1)
    assert values["load", "chat"] == (26 / 64, 1)
    assert values["load_with_one_less", "chat"] == (26 / 32, 1)


def test_histograms_are_bad_events_of_all():
    values = between(
        text(ttft=100, ttft_slow=10),
        text(ttft=140, ttft_slow=14, turns=8, turns_slow=2, prompts=9, prompts_4k=5),
    )

    assert values["ttft_over_1s", "chat"] == (4, 40)
    assert values["turn_over_5s", "chat"] == (2, 8)
    assert values["prompts_over_4k", "chat"] == (5, 9)
    assert values["prompts_over_half", "chat"] == (5, 9), "half of 8,192"


def test_a_counter_that_began_anew_grew_by_what_it_says():
    values = between(text(ttft=100), text(ttft=3, ttft_slow=1))

    assert values["ttft_over_1s", "chat"] == (1, 3)


def test_a_replica_that_did_not_answer_once_is_not_counted_twice():
    counted = Counted()
    for told in (text(ttft=100), "", text(ttft=130)):
        counted.take(Scrape(told))

    assert counted.growth("vllm:time_to_first_token_seconds_count", lane="chat") == 30


def test_a_lane_of_which_nobody_answers_is_unknown_and_not_idle():
    values = between(text(), "pointsman_active_sessions 1\n")

    assert ("load", "chat") not in values
    assert ("waiting", "chat") not in values


def test_the_pace_of_tokens_is_compared_with_the_profile():
    """Eight at once: 8 x 15 s of decoding, in steps that the profile has at 9.1 ms; 10 of nine."""
    step = decode_s(PROFILE.timing, 8)
    steady = text(gaps=round(8 * STEP_S / step), gap_s=8 * STEP_S)
    slow = text(gaps=round(8 * STEP_S / step / 1.6), gap_s=8 * STEP_S)

    assert between(text(), steady)["decode_ratio", "chat"][0] == pytest.approx(1, abs=0.1)
    assert between(text(), slow)["decode_ratio", "chat"][0] == pytest.approx(1.6, abs=0.16)


def test_without_a_profile_or_tokens_nothing_is_said_of_the_pace():
    bare = {"chat": LaneShape(2, 32, 8192)}
    busy = text(gaps=5000, gap_s=60)

    assert between(text(), busy, bare)["decode_ratio", "chat"] == (0, 0)
    assert between(text(), text(gaps=5, gap_s=0.1))["decode_ratio", "chat"] == (0, 0)


def test_twelve_milliseconds_are_asked_of_lanes_that_could_have_them():
    few = text(gaps=2000, gap_s=14, gaps_slow=300)
    many = text(gaps=20_000, gap_s=400, gaps_slow=19_000)

    assert between(text(), few)["token_over_12ms", "chat"] == (300, 2000)
    assert between(text(), many)["token_over_12ms", "chat"] == (0, 0)


def test_reading_prompts_makes_tokens_late_by_the_profile_too():
    timing = PROFILE.timing

    assert token_s(timing, 8, 0, 0) == decode_s(timing, 8)
    assert token_s(timing, 8, 4, 8000) > decode_s(timing, 8)
    assert decode_s(timing, 0.5) == decode_s(timing, 1)
    assert decode_s(timing, 128) == pytest.approx(2 * decode_s(timing, 64))


def tenants(waiting, **tokens):
    lines = [
        f'pointsman_tokens_total{{ingress="i1",kind="completion",tenant="{name}"}} {count}'
        for name, count in tokens.items()
    ]
    return text(waiting=waiting) + "\n".join(lines) + "\n"


def test_the_largest_tenant_counts_while_others_wait():
    before = tenants(5, acme=100, guest=100)

    assert between(before, tenants(5, acme=900, guest=300))["largest_tenant", "fleet"] == (0.8, 1)
    assert between(before, tenants(0, acme=900, guest=300))["largest_tenant", "fleet"] == (0, 1)
    assert between(before, tenants(5, acme=900, guest=100))["largest_tenant", "fleet"] == (0, 1)


CARD = """\
pointsman_card_temperature_celsius{lane="chat",replica="r1",card="0"} 84
pointsman_card_power_watts{lane="chat",replica="r1",card="0"} 412
pointsman_card_memory_used_bytes{lane="chat",replica="r1",card="0"} 24
pointsman_card_memory_total_bytes{lane="chat",replica="r1",card="0"} 25
pointsman_card_throttled{lane="chat",replica="r1",card="0",reason="gpu_idle"} 1
pointsman_card_throttled{lane="chat",replica="r1",card="0",reason="sw_thermal_slowdown"} 0
"""


def test_cards_are_told_where_there_are_any():
    cool = between(text(), text() + CARD)
    hot = between(text(), text() + CARD.replace('slowdown"} 0', 'slowdown"} 1'))

    assert cool["card_temperature", "chat"] == (84, 1)
    assert cool["card_power", "chat"] == (412, 1)
    assert cool["card_memory", "chat"] == (0.96, 1)
    assert cool["card_throttled", "chat"] == (0, 1), "an idle card runs slower, too"
    assert hot["card_throttled", "chat"] == (1, 1)
    assert ("card_power", "chat") not in between(text(), text())


AGENTS = """\
pointsman_tool_repairs_total{ingress="i1",lane="quality",step="fallback",outcome="mended"} %d
pointsman_tool_repairs_total{ingress="i1",lane="quality",step="fallback",outcome="failed"} %d
pointsman_tool_calls_total{ingress="i1",lane="chat",outcome="valid"} %d
pointsman_tool_calls_total{ingress="i1",lane="chat",outcome="schema"} %d
pointsman_requests_total{ingress="i1",lane="chat",reason="default",tier="t",code="200"} %d
pointsman_requests_total{ingress="i1",lane="chat",reason="default",tier="t",code="shed"} %d
pointsman_escalation_share{ingress="i1",lane="chat"} 0.07
"""


def test_fallbacks_are_of_turns_and_faults_of_calls():
    before = text() + AGENTS % (0, 0, 0, 0, 0, 0)

    values = between(before, text(turns=20) + AGENTS % (3, 5, 90, 10, 95, 5))

    assert values["fallback", "chat"] == (5, 20), "three mended, and two that nobody could"
    assert values["fallback_failed", "chat"] == (2, 20)
    assert values["invalid_calls", "chat"] == (10, 100)
    assert values["refused", "chat"] == (5, 100)
    assert values["escalation_share", "chat"] == (0.07, 1)
