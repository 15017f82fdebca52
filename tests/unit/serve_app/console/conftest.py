import pytest

from tests.unit.serve_app.console.deployment import Deployment


@pytest.fixture
async def deployment():
    """An ingress and simulated engines in this process; no traffic."""
    async with Deployment() as made:
        yield made
