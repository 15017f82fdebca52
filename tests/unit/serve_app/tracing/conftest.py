"""A gateway that traces, and the spans that it sends."""

from __future__ import annotations

import time

import pytest

from tests.unit.serve_app.conftest import with_tier
from tests.unit.serve_app.relay.test_tool_repair import HOLDS
from tests.unit.serve_app.tracing.calls import make_tracer


@pytest.fixture
def spans():
    return []


@pytest.fixture
def traced(world, spans):
    world.tracer = make_tracer(spans.append, time.time_ns)
    world.use(world.lanes)
    return world


@pytest.fixture
def holding(traced):
    with_tier(traced, **HOLDS)
    return traced
