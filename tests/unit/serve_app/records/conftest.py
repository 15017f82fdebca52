"""A feedback file of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from serve_app.records.feedback_store import FeedbackStore
from tests.unit.serve_app.records.records import make_store


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "state" / "feedback.db"


@pytest.fixture
def store(path) -> Iterator[FeedbackStore]:
    with closing(make_store(path)) as made:
        yield made
