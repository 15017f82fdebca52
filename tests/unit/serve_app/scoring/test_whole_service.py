"""The contextual classifier as it is deployed, behind requests: batched, slow, dead.

What stands in for Serve is the call between the two processes, and for the model a script.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
from ray import serve

from classifier import Artifact
from classifier.artifact import save_artifact
from serve_app.scoring.asking import ScoreAsking, asking_of
from serve_app.scoring.service import ClassifierServer
from tests.unit.serve_app.conftest import FakeResponse
from tests.unit.serve_app.scoring.test_rescoring import LengthScorer
from tests.unit.serve_app.scoring.test_scorer_kinds import contextual
from tests.wrong_bodies import CHAT


class Model:
    """Finds what ends in `hard` hard, one pass at a time; it may be held up."""

    def __init__(self) -> None:
        self.passes, self.may = [], threading.Event()
        self.may.set()

    def score_all(self, conversations):
        self.passes.append(len(conversations))
        assert self.may.wait(30)
        return [0.999 if "hard" in c.last_user else 0.1 for c in conversations]


@pytest.fixture
def model(monkeypatch):
    made = Model()
    monkeypatch.setattr(Artifact, "scorer", lambda _: made)
    yield made
    made.may.set()


@pytest.fixture
def server(model, tmp_path, monkeypatch):
    # Serve's batching compares its size with the deployment's.
    replica = SimpleNamespace(_deployment_config=SimpleNamespace(max_ongoing_requests=16))
    monkeypatch.setattr(serve, "get_replica_context", lambda: replica)
    save_artifact(contextual(), tmp_path / "slow")
    return ClassifierServer(artifact=str(tmp_path / "slow"))


@pytest.fixture
def served(world, server):
    """Scores from 0.97 on go up, and those near it are asked about."""

    def use(deadline_s, remote=lambda fields: asyncio.ensure_future(server.shares(fields))):
        policies = replace(world.state.policies, scorer=LengthScorer(), shipped=lambda x: 1.0 - x)
        policies.scorer.version = "by-length"
        world.state.apply(policies)
        handle = SimpleNamespace(shares=SimpleNamespace(remote=remote))
        asking = ScoreAsking(asking_of(handle), deadline_s, world.metrics.registry, lambda: 0.0)
        world.state.scoring = asking
        return world

    return use


async def lane_of(world, text) -> str:
    world.lanes.answers.append(FakeResponse(b"{}"))
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 4}
    answer = await world.post(CHAT, body, key="acme")
    assert answer.status_code == 200, answer.text
    return answer.headers["x-pointsman-lane"]


def counted(world, outcome) -> float:
    return world.count("pointsman_classifier_service_total", outcome=outcome)


async def test_requests_that_come_together_are_scored_in_one_pass(served, model):
    """Each goes where its own score sends it."""
    world = served(60.0)
    before = len(model.passes)
    texts = [f"prove it {n} 0.96" for n in range(3)] + [f"hard {n} 0.96" for n in range(3)]

    lanes = await asyncio.gather(*(lane_of(world, text) for text in texts))

    assert lanes == ["chat"] * 3 + ["quality"] * 3
    assert sum(model.passes[before:]) == 6 > len(model.passes[before:])
    assert counted(world, "answered") == 6


async def test_a_service_that_hangs_costs_its_deadline_and_then_nothing(served, model):
    """The scores that there are decide; after five such the others do not wait at all."""
    world = served(0.01)
    model.may.clear()

    lanes = [await lane_of(world, f"hard {n} 0.96") for n in range(7)]
    lanes += [await lane_of(world, "easy 0.975")]

    assert lanes == ["chat"] * 7 + ["quality"]
    assert (counted(world, "late"), counted(world, "open")) == (5, 3)


async def test_a_service_that_is_gone_costs_nothing(served):
    """As Serve says it, at once: no replica of it lives."""

    def gone(_):
        raise RuntimeError("the deployment has no running replica")

    world = served(60.0, gone)

    assert [await lane_of(world, f"hard {n} 0.96") for n in range(7)] == ["chat"] * 7
    assert (counted(world, "failed"), counted(world, "open")) == (5, 2)
