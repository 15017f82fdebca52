"""Prompts for `pointsman classifier label`."""

from pathlib import Path

import pytest
from labelling import PROMPTS, write


@pytest.fixture
def prompts(tmp_path) -> Path:
    return write(tmp_path / "prompts.jsonl", PROMPTS)
