"""What the doctor says of experiments."""

import pytest

from serve_app.config.tenants import TenantsConfig
from serve_app.doctor.check import Result
from serve_app.doctor.files.experiments import experiments
from tests.unit.serve_app.experiments.conftest import ONE, fleet_with

TENANTS = TenantsConfig.model_validate({"tiers": {"paid": {}, "free": {"lanes": ["chat"]}}})
SHADOW = {**ONE, "kind": "shadow"}


@pytest.mark.parametrize(
    ("listed", "slo", "result", "says"),
    [
        ([], None, Result.NOT_APPLICABLE, "the fleet has none"),
        ([ONE], {}, Result.OK, "models (ab, chat against quality)"),
        ([SHADOW], None, Result.OK, "models (shadow, chat against quality)"),
        ([ONE], None, Result.WARNING, "nothing stops its treatment"),
        ([{**ONE, "tiers": ["free"]}], {}, Result.WARNING, "may use lane 'quality'"),
    ],
)
def test_experiments_that_nobody_is_in_or_that_nothing_stops_are_told(listed, slo, result, says):
    found = experiments(fleet_with(*listed, **({} if slo is None else {"slo": slo})), TENANTS)

    assert (found.result, says in found.detail) == (result, True)
