"""Whole fleets under sessions: what must hold, and key figures that may not get worse."""

import gc
from dataclasses import replace

import pytest

from fleet.simulation import simulate
from fleet.simulation.world import ALLOCATIONS, Incident, World
from fleet.traffic.sessions import Curve, Sessions, diurnal, steady
from router.scaling.lane_load import Decision, Reason, ScalingTerms
from tests.unit.fleet.simulation.small_fleet import SAAS, rows, spec


class Doubling:
    """Asks for two replicas from a minute on, and for one again after three."""

    def __init__(self, terms):
        """Whatever the terms are."""

    def decide(self, load, now):
        target = 2 if 60 <= now < 180 else 1
        return Decision(target, target, Reason.LOAD)


def test_the_same_seed_gives_the_same_report_and_another_does_not():
    def run(seed):
        return simulate(spec(), Sessions(SAAS, "paid", seed, active=8), duration_s=40, seed=seed)

    assert run(1).to_dict() == run(1).to_dict() != run(2).to_dict()


def test_replicas_follow_the_policy_and_cards_are_paid_from_their_start_on():
    one = spec(card_hour=2.0)
    one = replace(
        one,
        lanes={
            "chat": replace(one.lanes["chat"], cards=2, scaling=ScalingTerms(1, 2), scaler=Doubling)
        },
    )

    report = simulate(one, Sessions(SAAS, "paid", active=4), duration_s=300)

    assert {ready for _, ready, _ in report.replicas["chat"]} == {1, 2}
    first_two = next(at for at, ready, _ in report.replicas["chat"] if ready == 2)
    assert first_two == pytest.approx(80, abs=10.1)
    # A second replica for two minutes and its drain: more than 7 minutes in all, under 9.
    assert 7 / 60 < report.card_hours["chat"] / 2 < 9 / 60
    assert report.card_cost == pytest.approx(2.0 * report.card_hours["chat"])
    assert rows(report)["chat", "paid"].codes.keys() == {"200"}


def test_the_shipped_policy_grows_with_the_load_and_shrinks_when_it_has_gone():
    base = spec(slots=8)
    lane = replace(base.lanes["chat"], scaling=ScalingTerms(1, 3, slots=8, calm_s=60.0))
    crowd = Sessions(SAAS, "paid", active=16, end_s=120.0)

    report = simulate(replace(base, lanes={"chat": lane}), crowd, duration_s=420)

    ready = [count for _, count, _ in report.replicas["chat"]]
    assert (ready[0], ready[-1]) == (1, 1)
    assert max(ready) > 1


def test_a_rolling_redeploy_of_two_replicas_loses_no_stream():
    report = simulate(
        spec(replicas=2),
        Sessions(SAAS, "paid", active=6),
        duration_s=200,
        incidents=[Incident(30.0, "redeploy", "chat")],
    )

    row = rows(report)["chat", "paid"]
    assert row.answered == row.requests
    assert len({ready for _, ready, _ in report.replicas["chat"]} & {1, 2}) == 2


def test_an_overload_sheds_free_work_first_with_two_ingress_replicas_as_with_one():
    """Key figures of the policy: what the bounds say was measured, with a quarter of room."""
    traffic = [
        Sessions(SAAS, "paid", requests_per_s=steady(1.5), prefix="paid"),
        Sessions(SAAS, "free", requests_per_s=steady(6), prefix="free", number=1),
    ]
    for ingresses in (1, 2):
        report = simulate(spec(slots=8, ingresses=ingresses), traffic, duration_s=120, skip_s=30)
        found = rows(report)
        paid, free = found["chat", "paid"], found["chat", "free"]
        assert report.violations == 0
        assert paid.answered == paid.requests
        assert paid.percentiles["ttft_p95_s"] < 1.5
        assert free.answered < 0.9 * free.requests


def test_a_quiet_fleet_keeps_its_objectives_and_its_cache():
    """Key figures: 0.13 s of p95 TTFT and 88 % of prompts cached were measured."""
    report = simulate(
        spec(replicas=2), Sessions(SAAS, "paid", active=12), duration_s=180, skip_s=60
    )

    row = rows(report)["chat", "paid"]
    assert report.slo_kept
    assert row.percentiles["ttft_p95_s"] < 0.25
    assert row.cached_ratio > 0.75


def test_a_day_swings_between_trough_and_peak():
    day = diurnal(50.0, 5.0)

    assert day.at(0) == pytest.approx(5) == day.at(86_400)
    assert day.at(43_200) == pytest.approx(50) == day.most


def test_a_curve_is_linear_between_its_points_and_stays_beyond_them():
    curve = Curve(((10.0, 1.0), (20.0, 3.0)))

    assert [curve.at(x) for x in (0, 10, 15, 20, 99)] == [1, 1, 2, 3, 3]


def test_arrivals_follow_the_curve_in_time():
    burst = Sessions(
        SAAS.model_copy(update={"turns": 1}),
        "paid",
        requests_per_s=Curve(((0, 0.2), (100, 0.2), (100.1, 4), (200, 4))),
    )

    class Seen:
        def begin(self, fleet):
            self.asked = []
            take = fleet.ask
            fleet.ask = lambda ask: (self.asked.append(fleet.world.now), take(ask))

    seen = Seen()
    simulate(spec(slots=64), [seen, burst], duration_s=200)

    early = sum(at < 100 for at in seen.asked)
    assert early == pytest.approx(20, abs=12)
    assert len(seen.asked) - early == pytest.approx(400, abs=60)


@pytest.mark.parametrize("rates", [{}, {"active": 1, "requests_per_s": steady(1)}])
def test_sessions_have_one_rate(rates):
    with pytest.raises(ValueError, match="either"):
        simulate(spec(), Sessions(SAAS, "paid", **rates), duration_s=1)


def test_the_collector_is_as_it_was_after_a_run():
    before, seen = gc.get_threshold(), []
    world = World()
    world.at(1.0, lambda _: seen.append(gc.get_threshold()[0]))
    world.run(2.0)
    assert seen == [ALLOCATIONS]
    assert gc.get_threshold() == before
