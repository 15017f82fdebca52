"""A request near a threshold, from its bytes to its lane, with a contextual classifier beside."""

from __future__ import annotations

from dataclasses import replace

import pytest

from serve_app.scoring.asking import ScoreAsking
from tests.unit.serve_app.conftest import FakeResponse, FakeScorer
from tests.wrong_bodies import CHAT


class LengthScorer(FakeScorer):
    """Scores by a number at the end of the newest turn."""

    def score(self, conversation) -> float:
        return float(conversation.last_user.split()[-1])


class Service:
    """Says of every turn which share of the mix it belongs to."""

    def __init__(self) -> None:
        self.share, self.asked = 0.5, []

    async def __call__(self, fields):
        self.asked.append([text for text, *_ in fields])
        if self.share is None:
            raise RuntimeError
        return [self.share] * len(fields)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def served(world, service):
    """Shares of 3 %: scores reach 1 - share, so 0.97 goes up and 0.94 to 0.985 is in doubt."""
    policies = replace(world.state.policies, scorer=LengthScorer(), shipped=lambda x: 1.0 - x)
    # Another version, or it would be taken for the same basis.
    policies.scorer.version = "by-length"
    world.state.apply(policies)
    world.state.scoring = ScoreAsking(service, 60.0, world.metrics.registry, lambda: 0.0)
    return world


async def decided(world, *turns, key="acme", **more):
    messages = [{"role": "user", "content": text} for text in turns]
    body = {"messages": messages, "max_tokens": 4, **more}
    answer = await world.post("/v1/route", body, key=key)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_better_score_near_the_threshold_sends_a_request_up(served, service):
    """The turn is asked about once; the lane, the score and its scale are the ingress' own."""
    service.share = 0.01

    first = await decided(served, "prove it 0.96")
    again = await decided(served, "prove it 0.96")

    assert (first["lane"], first["reason"]) == ("quality", "complex")
    assert first["score"] == again["score"] == pytest.approx(0.99)
    assert service.asked == [["prove it 0.96"]]


async def test_a_better_score_keeps_a_request_where_it_is_cheap(served, service):
    service.share = 0.5

    assert (await decided(served, "prove it 0.975"))["lane"] == "chat"
    assert service.asked == [["prove it 0.975"]]


async def test_who_is_far_from_the_threshold_waits_for_nobody(served, service):
    assert (await decided(served, "hello 0.5"))["lane"] == "chat"
    assert (await decided(served, "prove it 0.999"))["lane"] == "quality"
    assert service.asked == []


@pytest.mark.parametrize(
    ("key", "more"),
    [
        ("acme", {"model": "chat"}),
        ("acme", {"model": "quality"}),
        ("guest", {}),
    ],
)
async def test_whose_lane_no_score_can_change_is_not_asked_for(served, service, key, more):
    """The lane is named, or the tier has no stronger one."""
    await decided(served, "prove it 0.96", key=key, **more)

    assert service.asked == []


async def test_without_an_answer_the_score_that_there_is_decides(served, service):
    """And the next request of the conversation asks again."""
    service.share = None

    assert (await decided(served, "prove it 0.975"))["lane"] == "quality"
    assert (await decided(served, "prove it 0.975"))["score"] == pytest.approx(0.975)
    assert len(service.asked) == 2
    assert served.count("pointsman_classifier_service_total", outcome="failed") == 2


async def test_the_turns_of_a_conversation_are_asked_about_together(served, service):
    """Those that other turns do not settle, too: every ingress replica finds the same lane."""
    service.share = 0.01

    found = await decided(served, "prove it 0.96", "hello 0.1", "go on 0.95")

    assert found["lane"] == "quality"
    assert service.asked == [["prove it 0.96", "go on 0.95"]]


async def test_a_request_is_served_by_the_second_look(served, service):
    service.share = 0.01
    served.lanes.answers = [FakeResponse(b"{}")]
    body = {"messages": [{"role": "user", "content": "prove it 0.96"}], "max_tokens": 4}

    answer = await served.post(CHAT, body, key="acme")

    assert answer.headers["x-pointsman-lane"] == "quality", answer.text


async def test_without_a_service_no_score_is_looked_at_twice(served, service):
    served.state.scoring = None

    assert (await decided(served, "prove it 0.96"))["lane"] == "chat"
    assert service.asked == []


async def test_a_fixed_threshold_has_its_doubts_too(served, service):
    """What reaches it is asked about, wherever the traffic's own threshold lies."""
    served.state.apply(replace(served.state.policies, fixed_threshold=0.7))

    assert (await decided(served, "prove it 0.75"))["lane"] == "chat"
    assert (await decided(served, "prove it 0.65"))["lane"] == "chat"
    assert service.asked == [["prove it 0.75"]]
