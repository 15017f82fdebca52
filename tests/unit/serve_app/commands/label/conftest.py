"""A deployment and prompts for `pointsman classifier label`."""

from pathlib import Path

import pytest
from fake_deployment import FakeDeployment, serving
from labelling import PROMPTS, write


@pytest.fixture
def fake(monkeypatch):
    """A deployment; no key unless a test sets one."""
    monkeypatch.delenv("POINTSMAN_API_KEY", raising=False)
    with serving(FakeDeployment()) as made:
        yield made


@pytest.fixture
def prompts(tmp_path) -> Path:
    return write(tmp_path / "prompts.jsonl", PROMPTS)
