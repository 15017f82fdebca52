"""A world with experiments, and a clock that stands still."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from serve_app.config.fleet import FleetConfig
from serve_app.experiments.book import ExperimentBook
from serve_app.routing.policies import build_policies
from tests.unit.serve_app.conftest import FLEET, FakeScorer, World

STARTS = datetime(2026, 12, 1, tzinfo=UTC)
ONE = {
    "name": "models",
    "kind": "ab",
    "control": "chat",
    "treatment": "quality",
    "starts": STARTS,
}


class Clock:
    """Seconds since 1970, a day after experiments began."""

    def __init__(self) -> None:
        self.now = STARTS.timestamp() + 86_400.0

    def __call__(self) -> float:
        return self.now


def fleet_with(*experiments: dict[str, Any], **more: Any) -> FleetConfig:
    return FleetConfig.model_validate({**FLEET, **more, "experiments": list(experiments)})


def use(world: World, clock: Clock, *experiments: dict[str, Any], **more: Any) -> ExperimentBook:
    """The world in which these run from now on."""
    fleet = fleet_with(*experiments, **more)
    policies = build_policies(fleet, world.tenants, FakeScorer(), lambda _: 0.5, book=world.book)
    world.state.experiments = ExperimentBook(fleet, clock)
    world.state.apply(policies)
    return world.state.experiments


@pytest.fixture
def clock() -> Clock:
    return Clock()
