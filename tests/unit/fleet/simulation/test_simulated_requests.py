"""Single requests through a simulated fleet: each decision is that of router's classes."""

from dataclasses import replace

import pytest

from fleet.simulation import simulate
from fleet.simulation.gateway.limits import Limits
from fleet.simulation.world import Incident, World
from router.errors import RejectReason
from router.limits.quota import QuotaConfig
from router.limits.reservation import Reckoning
from router.routing.escalation import EscalationLevel
from router.routing.policy import RoutingPolicy, StrongerLane
from router.types import Lane, Reason
from tests.unit.fleet.simulation.small_fleet import CHAT, PAID, PROFILE, Asked, limited, rows, spec


def test_a_request_is_answered_in_the_time_that_its_profile_says():
    """Prefill of 500 tokens and 49 decode steps of one sequence, and the hand-over."""
    asked, timing = Asked(0.0, output=50), PROFILE.timing

    report = simulate(spec(), asked, duration_s=30)

    prefill_s = (timing.prefill_step_ms + 500 * timing.prefill_ms_per_token) / 1000
    whole_s = timing.request_overhead_ms / 1000 + prefill_s + 49 * timing.decode_step_ms[1] / 1000
    row = rows(report)["chat", "paid"]
    assert row.percentiles["duration_p50_s"] == pytest.approx(whole_s, rel=0.01)
    assert (row.requests, row.completion_tokens, row.slo_kept) == (1, 50, True)


def test_the_same_prompt_again_is_read_from_the_prefix_cache():
    class Twice(Asked):
        def _ask(self, number):
            return super()._ask(0)

    row = rows(simulate(spec(), Twice(0.0, 5.0, prompt=640), duration_s=30))["chat", "paid"]

    assert row.cached_ratio == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("ceilings", "code"),
    [
        ({"requests_per_minute": 2}, "request_rate"),
        ({"concurrent_requests": 2}, "tenant_concurrency"),
        ({"tokens_per_minute": 1100}, "token_rate"),
    ],
)
def test_ceilings_refuse_what_they_would_refuse_in_a_deployment(ceilings, code):
    asked = Asked(0.0, 0.01, 0.02, limit=50)

    simulate(spec(paid=limited(**ceilings)), asked, duration_s=30)

    assert sorted(asked.codes) == sorted(["200", "200", code])


def test_a_quota_refuses_until_the_day_is_over():
    paid, world = replace(PAID, quotas=QuotaConfig(tokens_per_day=800)), World()
    limits, cost = Limits(world), Reckoning(500, 550, 600)

    limits.use_quota("acme", 550)
    refused = limits.quota_refusal("acme", paid, cost)
    world.run(86_401)

    assert refused.reason is RejectReason.TOKEN_QUOTA
    assert limits.quota_refusal("acme", paid, cost) is None


def test_a_quota_counts_what_was_used_not_what_was_held():
    paid = replace(PAID, quotas=QuotaConfig(tokens_per_day=1500))
    asked = Asked(0.0, 5.0, 10.0, limit=4000)

    simulate(spec(paid=paid), asked, duration_s=30)

    assert asked.codes == ["200", "200", "token_quota"]


def test_tokens_a_second_are_paced_and_what_was_generated_ahead_is_debt():
    """200 tokens at 20 a second take ten seconds, whatever the engine does."""
    paced = Asked(0.0, 4.0, output=200)

    simulate(spec(paid=limited(tokens_per_second=20)), paced, duration_s=60)

    assert paced.codes[-1] == "token_rate" or "token_rate" in paced.codes
    assert max(answer.took_s for answer in paced.answers) == pytest.approx(10, abs=1)


def test_what_does_not_fit_the_window_is_refused():
    asked = Asked(0.0, prompt=20_000)

    report = simulate(spec(), asked, duration_s=30)

    assert asked.codes == ["context_length_exceeded"]
    assert rows(report)["chat", "paid"].misses == {}


def test_a_full_lane_starts_protected_work_before_sheddable():
    """One slot: the free request asked first of those that wait, and is last."""
    first = Asked(0.0, output=400)
    free, paid = Asked(0.1, tier="free", tenant="f"), Asked(0.2, tenant="p")

    simulate(spec(slots=1), [first, free, paid], duration_s=60)

    assert free.codes == paid.codes == ["200"]
    assert paid.ended[0] < free.ended[0]


def test_complex_questions_go_up_within_the_share_and_yield_their_reason():
    strong = Lane("quality", "large", 8192)
    base = spec()
    two = replace(
        base,
        lanes={**base.lanes, "quality": replace(base.lanes["chat"], lane=strong)},
        routing=RoutingPolicy(
            {"chat": CHAT, "quality": strong},
            "chat",
            stronger=(StrongerLane("quality", Reason.COMPLEX),),
        ),
        levels=(EscalationLevel("quality", 0.1),),
    )
    easy = Asked(*range(60), tenant="e", output=5, scores=(0.1,))
    hard = Asked(0.5, 30.5, tenant="h", output=5, scores=(0.99,))

    found = rows(simulate(two, [easy, hard], duration_s=90))

    assert found["quality", "paid"].requests == 2
    assert found["chat", "paid"].requests == 60


def test_a_lost_replica_s_streams_go_on_elsewhere():
    """A plain stream resumes from its tokens, one with tools is repeated."""
    plain = Asked(0.0, output=300)
    tools = Asked(0.0, output=300, tenant="t", has_tools=True)
    incident = Incident(1.0, "lose", "chat", replicas=2, for_s=2.0)

    report = simulate(spec(replicas=2), [plain, tools], duration_s=60, incidents=[incident])

    assert plain.codes == tools.codes == ["200"]
    assert rows(report)["chat", "paid"].recovered == {"by_tokens": 1, "repeat": 1}
    assert plain.ended[0] < tools.ended[0]


def test_without_a_replica_for_too_long_a_request_is_refused():
    asked = Asked(2.0)
    incident = Incident(1.0, "lose", "chat", for_s=30.0)

    report = simulate(spec(), asked, duration_s=60, incidents=[incident])

    assert asked.codes == ["no_replica"]
    assert asked.ended[0] == pytest.approx(7.0, abs=0.5)
    assert report.shed_order == {"clear": 1}


def test_an_incident_that_nobody_knows_is_an_error():
    with pytest.raises(ValueError, match="lose, redeploy"):
        simulate(spec(), Asked(), duration_s=1, incidents=[Incident(0.0, "quake", "chat")])
