"""What one ingress replica does with scores: views, yielding, peers, the shadow."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from router.types import Lane, LaneDecision, Reason
from serve_app.config.lane import SimulatedEngine
from serve_app.config.routing import ExplorationConfig
from serve_app.metrics import Metrics
from serve_app.routing.escalation import Escalation
from serve_app.routing.in_step import exchange, observe_lanes
from serve_app.routing.scores import SCORE_CACHE_SIZE
from simulator.model.profile import load_profile
from tests.unit.serve_app.conftest import FakeScorer

QUALITY = Lane("quality", "large", 8000)
CHAT = Lane("chat", "small", 8000)


@pytest.fixture
def policies(world):
    return world.state.policies


@pytest.fixture
def escalation(policies):
    return Escalation(policies, "r1")


def tenant(name="acme", **budgets):
    return SimpleNamespace(name=name, rules=SimpleNamespace(budgets=budgets))


def asked(*users, system="", tools=0, dropped=0):
    prompt = SimpleNamespace(users=users, system=system, dropped_users=dropped)
    return SimpleNamespace(prompt=prompt, tools=tools)


def went_up(score=0.9, reason=Reason.COMPLEX):
    return LaneDecision(QUALITY, reason, score, 0.5)


class CountingScorer(FakeScorer):
    """Counts what it is asked."""

    def __init__(self, version="fake") -> None:
        self.version = version
        self.calls = 0

    def score(self, conversation) -> float:
        self.calls += 1
        return super().score(conversation)


def test_the_last_turns_are_scored_newest_last_and_once(policies):
    """Old turns come from a cache, at any turn of the conversation."""
    scorer = CountingScorer()
    policies = replace(policies, scorer=scorer, sticky_turns=2)
    escalation = Escalation(policies)

    first = escalation.judge(policies, tenant(), asked("hard", "easy"))
    again = escalation.judge(policies, tenant(), asked("hard", "easy", "hard 2"))

    assert first.scores == [0.9, 0.1]
    assert again.scores == [0.1, 0.9]
    assert scorer.calls == 3


def test_turns_that_the_engine_will_not_read_are_not_scored(policies):
    """What is left has the score that it had when it was newest."""
    scorer = CountingScorer()
    policies = replace(policies, scorer=scorer, sticky_turns=3)
    escalation = Escalation(policies)

    whole = escalation.scores.of_turns(policies, asked("hard", "easy", "hard 2"))
    cut = escalation.scores.of_turns(policies, asked("hard", "easy", "hard 2", dropped=1))

    assert (whole, cut) == ([0.9, 0.1, 0.9], [0.1, 0.9])
    assert scorer.calls == 3


def test_the_cache_of_scores_is_bounded(policies):
    """A flood of different texts does not grow it for ever."""
    escalation = Escalation(policies)
    for number in range(SCORE_CACHE_SIZE + 50):
        escalation.scores.of_turns(policies, asked(f"text {number}"))

    assert len(escalation.scores.cache) == SCORE_CACHE_SIZE


def test_a_spent_budget_shows_in_the_next_view(policies, escalation):
    """What is noted is paid for; another tenant keeps its own."""
    while escalation.judge(policies, tenant(), asked("hard")).views["quality"].has_budget:
        escalation.note(tenant(), went_up())

    assert (
        escalation.judge(policies, tenant("other"), asked("hard"))
        .views["quality"]
        .has_sticky_budget
    )
    assert not escalation.judge(policies, tenant(), asked("hard")).views["quality"].has_budget


def test_a_request_that_was_not_scored_counts_in_nothing(policies, escalation):
    """Pinned and long requests."""
    before = escalation.export()

    escalation.note(tenant(), LaneDecision(QUALITY, Reason.PINNED))

    assert escalation.export() == before


def test_the_operators_threshold_stands_in_for_the_controllers(policies):
    """Budgets hold as ever."""
    policies = replace(policies, fixed_threshold=0.77)

    escalation = Escalation(policies)

    view = escalation.judge(policies, tenant(), asked("x")).views["quality"]
    assert (view.threshold, view.yield_threshold, view.has_budget) == (0.77, 0.77, True)
    assert escalation.status()["quality"]["threshold"] == 0.77


def test_a_candidate_scores_beside_the_active_classifier(policies, escalation):
    """Its version and score, and nothing without one."""
    shadow = CountingScorer("next")

    assert escalation.shadow(policies, asked("hard")) is None
    assert escalation.shadow(replace(policies, shadow=shadow), asked("hard")) == ("next", 0.9)
    assert escalation.shadow(replace(policies, shadow=shadow), asked()) is None


def full(replicas=1):
    return [{"waiting": 40, "running": 16, "kv_utilization": 0.99}] * replicas


def test_a_full_lane_yields_and_says_so(policies, monkeypatch):
    """Minutes of load over every mark, then none."""
    clock = [1000.0]
    monkeypatch.setattr("serve_app.routing.escalation.time.monotonic", lambda: clock[0])
    escalation = Escalation(policies)
    for _ in range(60):
        clock[0] += 2
        fraction = escalation.observe("quality", full())
    assert fraction > 0.5
    assert escalation.status()["quality"]["yield"] == fraction

    for _ in range(300):
        clock[0] += 2
        fraction = escalation.observe(
            "quality", [{"waiting": 0, "running": 1, "kv_utilization": 0}]
        )
    assert fraction == 0


def test_a_lane_that_does_not_answer_does_not_yield_for_ever(policies, monkeypatch):
    """Better a full lane than one left idle by a dead sensor."""
    clock = [1000.0]
    monkeypatch.setattr("serve_app.routing.escalation.time.monotonic", lambda: clock[0])
    escalation = Escalation(policies)
    for _ in range(60):
        clock[0] += 2
        before = escalation.observe("quality", full())
    clock[0] += 300

    assert escalation.observe("quality", []) < before


def test_slow_first_tokens_count_against_their_objective(policies, monkeypatch):
    """Only while they are recent, and only of a stronger lane."""
    clock = [1000.0]
    monkeypatch.setattr("serve_app.routing.escalation.time.monotonic", lambda: clock[0])
    routing = policies.fleet.routing.model_copy(update={"escalation_ttft_s": 0.5})
    policies = replace(policies, fleet=policies.fleet.model_copy(update={"routing": routing}))
    escalation = Escalation(policies)

    escalation.note_ttft("chat", 9.0)
    escalation.note_ttft("quality", 1.0)
    recent = escalation.observation("quality", [], 1001.0)
    stale = escalation.observation("quality", [], 1100.0)

    assert (recent.ttft, stale.ttft) == (2.0, None)
    assert escalation.observation("chat", [], 1001.0).ttft is None


def test_how_full_a_simulated_engine_is_comes_from_its_profiles_slots(policies):
    """As admission and placement count them: the file itself says nothing of `max_num_seqs`."""
    name = "llama-3.1-8b-fp8-rtx4090"
    lane = {"engine": "simulated", "simulated": SimulatedEngine(profile=name), "engine_args": {}}
    lanes = {
        **policies.fleet.lanes,
        "quality": policies.fleet.lanes["quality"].model_copy(update=lane),
    }
    fleet = policies.fleet.model_copy(update={"lanes": lanes})
    rows = [{"waiting": 0, "running": 10, "kv_utilization": 0.1}]

    load = Escalation(replace(policies, fleet=fleet)).observation("quality", rows, 0.0)

    assert load.running == 10 / load_profile(name).scheduling.max_num_seqs


def test_only_lanes_that_were_used_lately_are_asked_for_their_load(escalation, monkeypatch):
    """An idle deployment costs nothing."""
    clock = [1000.0]
    monkeypatch.setattr("serve_app.routing.escalation.time.monotonic", lambda: clock[0])
    assert escalation.busy_lanes() == []

    escalation.note(tenant(), went_up())
    assert escalation.busy_lanes() == ["quality"]

    clock[0] += 100
    assert escalation.busy_lanes() == []


def test_peers_count_once_and_only_on_the_same_basis(policies):
    """A peer on another artefact is left out."""
    one, two = Escalation(policies, "r1"), Escalation(policies, "r2")
    other = Escalation(replace(policies, scorer=CountingScorer("next")), "r3")
    for replica in (two, other):
        for _ in range(10):
            replica.note(tenant(), went_up())

    for _ in range(3):
        one.merge(two.export())
        one.merge(other.export())
        one.merge(one.export())

    assert one.status()["quality"]["share"] == 10 / 500


def test_a_reload_of_tenants_keeps_what_was_spent(policies, escalation):
    """New shares or a new artefact begin anew."""
    escalation.note(tenant(), went_up())

    escalation.apply(replace(policies, sticky_turns=5))
    assert escalation.export()["scored"] == 1

    escalation.apply(replace(policies, scorer=CountingScorer("next")))
    assert escalation.export()["scored"] == 0


class FakeLanes:
    async def engine_load(self, lane):
        return full()


async def test_a_round_observes_and_exchanges(policies, escalation):
    """What does not answer in form is left out."""
    peer = Escalation(policies, "r2")
    peer.note(tenant(), went_up())
    escalation.note(tenant(), went_up())

    async def broadcast(method):
        assert method == "escalation_export"
        return [escalation.export(), peer.export(), TimeoutError()]

    await observe_lanes(escalation, FakeLanes(), Metrics())
    await exchange(escalation, broadcast)

    assert escalation.status()["quality"]["share"] == 2 / 500


async def test_a_lane_that_loses_its_share_while_it_is_asked_ends_no_round(policies, escalation):
    """The exchange with the peers comes after it."""
    escalation.note(tenant(), went_up())

    class ReloadingLanes:
        async def engine_load(self, lane):
            escalation.apply(replace(policies, levels=()))
            return full()

    metrics = Metrics()
    await observe_lanes(escalation, ReloadingLanes(), metrics)

    told = metrics.registry.get_sample_value("pointsman_escalation_yield", {"lane": "quality"})
    assert told == 0


def exploring(policies):
    routing = replace(policies.routing, epsilon=0.02)
    config = policies.fleet.routing.model_copy(update={"exploration": ExplorationConfig()})
    fleet = policies.fleet.model_copy(update={"routing": config})
    return replace(policies, routing=routing, fleet=fleet)


def test_turns_have_draws_only_where_something_is_explored(policies):
    """A draw for each score, the same when the turn is sent again, another for another session."""
    on = exploring(policies)
    escalation, turns = Escalation(on), asked("hard", "easy")

    none = Escalation(policies).judge(policies, tenant(), turns, "s1")
    first = escalation.judge(on, tenant(), turns, "s1")
    later = escalation.judge(on, tenant(), asked("hard", "easy", "hard 2"), "s1")
    other = escalation.judge(on, tenant(), turns, "s2")

    assert none.draws == ()
    assert len(first.draws) == len(first.scores) == 2
    assert later.draws[:2] == first.draws
    assert set(other.draws).isdisjoint(first.draws)
    assert all(0 <= draw < 1 for draw in later.draws)


def test_a_fixed_threshold_has_a_band_of_its_own(policies):
    """Around the operator's threshold, not the traffic's."""
    on = replace(exploring(policies), fixed_threshold=0.3)

    view = Escalation(on).judge(on, tenant(), asked("x")).views["quality"]

    assert view.threshold == 0.3
    assert view.band.low < view.band.high


def test_shares_begin_anew_when_the_band_becomes_wider(policies):
    """More of the scores have to be remembered for it."""
    assert exploring(policies).escalation_basis != policies.escalation_basis


def test_what_chance_has_moved_is_counted_as_such(policies, monkeypatch):
    on, told = exploring(policies), []
    escalation = Escalation(on)
    monkeypatch.setattr(
        escalation._controller, "note", lambda *_, explored, **__: told.append(explored)
    )

    escalation.note(tenant(), went_up(reason=Reason.EXPLORED))
    escalation.note(tenant(), went_up())

    assert told == [True, False]
