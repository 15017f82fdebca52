"""What the doctor finds in the shipped fleets, with the shipped tenants, before anything starts."""

import pytest
from doctor_recordings import NONE

from fleet.cards.table import cards
from serve_app.config.settings import load_fleet
from serve_app.doctor.check import Result
from serve_app.doctor.examination import fleet_checks
from serve_app.doctor.files.configuration import file_checks
from simulator.home import shipped

CONFIGS = shipped() / "configs"
FLEETS = sorted((CONFIGS / "fleets").glob("*.yaml"))
OF_THIS_MACHINE = {"tenancy store", "embedded model", "settings", "addresses"}
EXPECTED = {"tiers' lanes", "revisions", "roles"}
"""Told of a fleet for paying users alone, of hub models that are not pinned, and of roles that wait
for lanes that are off."""


@pytest.mark.slow
@pytest.mark.parametrize("path", FLEETS, ids=lambda path: path.stem)
def test_a_shipped_fleet_has_no_failure_and_no_warning_but_those_that_its_head_explains(path):
    card = cards()["rtx3090"]
    checks = [
        x
        for x in file_checks(str(path), CONFIGS / "tenants.yaml", shipped() / "serve_config.yaml")
        if x.name not in OF_THIS_MACHINE
    ]
    checks += fleet_checks(load_fleet(path), NONE, card)

    found = [x.run() for x in checks]

    assert [x for x in found if x.result is Result.FAILURE] == []
    warned = {x.check for x in found if x.result is Result.WARNING}
    assert warned <= EXPECTED
    text = path.read_text()
    if "tiers' lanes" in warned:
        assert "For paying users" in text and "`pointsman doctor`" in text
