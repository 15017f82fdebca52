"""The shipped policy's key figures, which a change may better and not worsen.

Bounds are today's figures and a tenth on top. A change that means to move one moves its bound.
"""

import pytest

from fleet.simulation import simulate
from fleet.traffic.scenarios import load_scenario
from serve_app.commands.fleet_spec import spec_of
from serve_app.config.settings import fleet_path, load_fleet, load_tenants, tenants_path

MINUTES = 4


@pytest.fixture(scope="module")
def shipped():
    return spec_of(load_fleet(fleet_path("rtx4090")), load_tenants(tenants_path()))


def sooner(stream, by_s):
    """The stream with its swings so much earlier."""
    rates = stream.requests_per_s
    if rates is None:
        return stream
    later = [(max(0.0, at - by_s), rate) for at, rate in rates]
    return stream.model_copy(update={"requests_per_s": later})


def run(shipped, name, by_s=0.0):
    scenario = load_scenario(name)
    traffic = [sooner(stream, by_s) for stream in scenario.traffic]
    scenario = scenario.model_copy(update={"traffic": traffic})
    spec = scenario.sized(shipped)
    report = simulate(
        spec,
        scenario.sources(1, spec.sticky_turns),
        duration_s=60 * MINUTES,
        skip_s=60,
        incidents=scenario.happenings(spec),
    )
    return {(row.lane, row.tier): row for row in report.rows}, report


def test_thirty_sessions_are_answered_in_time_with_their_history_cached(shipped):
    rows, report = run(shipped, "saas")
    chat = rows["chat", "paid"]

    assert report.violations == 0
    assert chat.requests > 700
    assert chat.answered > 0.99 * chat.requests
    assert chat.percentiles["ttft_p95_s"] < 0.255
    assert chat.percentiles["duration_p95_s"] < 11.1
    assert chat.cached_ratio > 0.8


def test_a_flash_crowd_of_free_work_leaves_paid_work_nearly_as_it_was(shipped):
    rows, report = run(shipped, "flash-crowd", by_s=540)
    paid, free = rows["chat", "paid"], rows["free", "free"]

    assert report.violations == 0
    assert free.requests > 4 * paid.requests
    assert paid.answered > 0.99 * paid.requests
    assert free.answered > 0.7 * free.requests
    assert paid.percentiles["ttft_p95_s"] < 0.205
