"""What the simulator says of a remedy, and when it says nothing."""

import json
import math
from random import Random

import pytest

from router.advice.trigger import Change
from serve_app.advice.decoding import profile_of
from serve_app.advice.effect import Job, expected_effect
from serve_app.advice.jobs import job_of, lane_facts, run_elsewhere, run_job
from serve_app.advice.subjects import shapes
from serve_app.config.advice import AdviceConfig
from serve_app.config.settings import fleet_path, load_fleet
from simulator.model.profile import load_profile
from simulator.virtual_time.trace import Recorded, play

PROFILE = load_profile("llama-3.1-8b-fp8-rtx4090")


def traffic(per_s, count=150, *, ttft_s=math.nan, seed=1, greedy=0.0):
    random, at, made = Random(seed), 0.0, []
    for _ in range(count):
        at += random.expovariate(per_s)
        tenant = 0 if random.random() < greedy else random.randint(1, 8)
        output = 600 if tenant == 0 else 180
        session = 100 * tenant + random.randrange(8)
        made.append(Recorded(at, 2000, 1500, output, session, tenant, ttft_s))
    return made


def job(change, requests, **more):
    given = {"replicas": 1, "slots": 32, "fewer_slots": 24} | more
    return Job(change, given.pop("profile", PROFILE), requests, **given)


def test_one_replica_more_takes_the_queue_away():
    effect = expected_effect(job(Change.REPLICA_MORE, traffic(9)))

    ttft = effect["ttft_p95_s"]
    assert effect["simulated"]
    assert ttft["after"] < 0.3 * ttft["before"]
    assert ttft["change_least"] <= ttft["change"] <= ttft["change_most"] < 0
    assert effect["waiting"]["after"] < effect["waiting"]["before"]
    assert "p95 TTFT" in effect["says"]


def test_one_replica_less_costs_an_idle_lane_next_to_nothing():
    effect = expected_effect(job(Change.REPLICA_LESS, traffic(0.5), replicas=2))

    assert effect["ttft_p95_s"]["after"] < 0.3
    assert not expected_effect(job(Change.REPLICA_LESS, traffic(0.5)))["simulated"]


def test_a_card_at_full_speed_gives_tokens_sooner():
    effect = expected_effect(job(Change.FULL_SPEED, traffic(2), slowdown=1.6))

    pace = effect["time_per_token_s"]
    # Slower streams are also more at once.
    assert pace["before"] / pace["after"] > 1.5


def test_a_ceiling_holds_the_largest_tenant_back():
    effect = expected_effect(job(Change.CEILING, traffic(6, greedy=0.6)))

    assert effect["waiting"]["after"] < effect["waiting"]["before"]


def test_a_warm_cache_is_read_from():
    cold = [Recorded(x.at, 2000, 0, 180, x.session, x.tenant) for x in traffic(4)]

    effect = expected_effect(job(Change.WARM_CACHE, cold))

    assert effect["ttft_p95_s"]["after"] < effect["ttft_p95_s"]["before"]


def test_fewer_sequences_are_simulated_as_what_they_are():
    effect = expected_effect(job(Change.FEWER_SEQUENCES, traffic(4, 80), fewer_slots=2))

    assert effect["waiting"]["after"] > effect["waiting"]["before"]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (job(Change.NONE, traffic(1)), "does not model"),
        (job(Change.REPLICA_MORE, traffic(1), profile=None), "no profile"),
        (job(Change.REPLICA_MORE, traffic(1, 10)), "only 10 requests"),
        (job(Change.REPLICA_MORE, traffic(1, ttft_s=60.0)), "does not describe this lane"),
    ],
)
def test_what_cannot_be_simulated_is_told_as_such(asked, why):
    effect = expected_effect(asked)

    assert effect["simulated"] is False
    assert why in effect["says"]


def test_its_error_beside_what_was_measured_is_told():
    measured = sorted(play(PROFILE, traffic(2)).ttfts_s)[142]

    effect = expected_effect(job(Change.REPLICA_MORE, traffic(2, ttft_s=measured)))

    assert abs(effect["off_by"]) < 0.5
    assert "off what was measured" in effect["says"]


def test_it_takes_no_longer_than_it_may():
    clock = iter([0.0, 100.0])

    assert (
        expected_effect(job(Change.REPLICA_MORE, traffic(1)), clock=lambda: next(clock))["draws"]
        == 1
    )


async def test_a_job_is_done_in_another_process():
    fleet = load_fleet(fleet_path("rtx4090"))
    facts = lane_facts(fleet, shapes(fleet), "chat")
    rows = [[x.at, x.prompt, x.cached, x.output, x.session, x.tenant, None] for x in traffic(3, 60)]
    row = {"trigger": "waiting", "subject": "chat", "change": "one replica more", "value": 9.0}
    asked = job_of(row, facts, {"chat": rows})

    found = await run_elsewhere([asked, {"change": "nonsense", "requests": []}])

    assert found[0]["simulated"]
    assert found[0]["profile"] == "llama-3.1-8b-fp8-rtx4090"
    assert found[1]["says"] == "not simulated: ValueError"
    # How many draws there is time for differs.
    assert json.loads(json.dumps(run_job(asked))).keys() == found[0].keys()


def test_the_fleets_row_is_simulated_on_the_default_lane():
    fleet = load_fleet(fleet_path("rtx4090"))
    facts = lane_facts(fleet, shapes(fleet), "chat")
    row = {"trigger": "tenant_flood", "subject": "fleet", "change": "none", "value": 0.7}

    assert job_of(row, facts, {"chat": [[1]]})["requests"] == [[1]]


def test_a_profile_is_found_by_model_and_card_or_by_name():
    lanes = load_fleet(fleet_path("rtx4090")).lanes
    chat = lanes["chat"]
    other = chat.model_copy(update={"bundle": {"GPU": 1}})
    named = AdviceConfig(profiles={"chat": "phi-3-mini-fp8-rtx4090"})

    assert profile_of("chat", chat, AdviceConfig()).name == "llama-3.1-8b-fp8-rtx4090"
    assert profile_of("chat", other, AdviceConfig()) is None
    assert profile_of("chat", other, named).name == "phi-3-mini-fp8-rtx4090"
    assert profile_of("chat", other, AdviceConfig(profiles={"chat": "no-such"})) is None
    # No document has the speed of the model of `free`, which is off as shipped.
    assert all(profile_of(name, lanes[name], AdviceConfig()) for name in lanes if name != "free")
