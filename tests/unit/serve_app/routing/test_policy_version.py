"""The version of policies changes with what lanes are chosen by, and with nothing else."""

import pytest

from serve_app.config.fleet import FleetConfig
from serve_app.routing.policies import version_of
from tests.unit.serve_app.conftest import FLEET


def version(classifier="v1", **changed) -> str:
    return version_of(FleetConfig.model_validate({**FLEET, **changed}), classifier)


@pytest.mark.parametrize(
    "changed",
    [
        {"classifier": "v2"},
        {"routing": {**FLEET["routing"], "escalation_share": 0.3}},
        {"lanes": {**FLEET["lanes"], "chat": {**FLEET["lanes"]["chat"], "model_id": "other"}}},
        {"aliases": {"gpt-4o": {"to": "quality"}}},
    ],
)
def test_what_decides_is_in_it(changed):
    assert version(**changed) != version()


def test_it_is_the_same_for_the_same_and_for_what_decides_nothing():
    assert version(timeouts={"read_s": 9}) == version() == version()
    assert len(version()) == 12
