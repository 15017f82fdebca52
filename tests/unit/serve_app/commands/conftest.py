"""A deployment for the commands that ask one."""

import pytest
from fake_deployment import FakeDeployment, serving


@pytest.fixture
def fake(monkeypatch):
    """A deployment; no key unless a test sets one."""
    monkeypatch.delenv("POINTSMAN_API_KEY", raising=False)
    with serving(FakeDeployment()) as made:
        yield made
