"""Ingress replicas that have summaries."""

import pytest

from tests.unit.serve_app.summaries.summaries import Replicas


@pytest.fixture
def replicas(world):
    """Makes the world one of replicas whose tenant wants summaries; a tier's settings."""
    made = []

    def make(store=None, **tier) -> Replicas:
        made.append(Replicas(world, store, **tier))
        return made[-1]

    yield make
    for each in made:
        each.close()
