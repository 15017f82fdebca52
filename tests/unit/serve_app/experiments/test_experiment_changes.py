"""What a reload says of experiments that somebody has changed."""

from datetime import UTC, datetime, timedelta

import pytest
import yaml

from serve_app.experiments.changes import ExperimentChanges
from serve_app.routing.reload import Reloader
from tests.unit.serve_app.experiments.conftest import ONE, STARTS, fleet_with

GUARD = {**ONE, "guard": {"ttft_p95_s": 1.0}}
NOW = datetime(2026, 12, 2, 3, 0, tzinfo=UTC)
TENANTS = {"tiers": {"paid": {}}, "tenants": {"acme": {"tier": "paid"}}}


@pytest.mark.parametrize(
    ("after", "says"),
    [
        ([GUARD], None),
        ([], "experiment models is gone from the file"),
        ([{**GUARD, "name": "renamed"}], "experiment models is gone from the file"),
        ([{**GUARD, "control": "quality", "treatment": "chat"}], "divides requests in another way"),
        ([{**GUARD, "share": 0.2}], "divides requests in another way"),
        ([{**GUARD, "max_days": 21}], "its ratings go on counting"),
        ([{**GUARD, "guard": {"answer_p95_s": 9}}], "a treatment that was stopped runs again"),
        ([{**GUARD, "alpha": 0.05}], None),
        ([GUARD, {**ONE, "name": "more", "starts": STARTS + timedelta(days=20)}], None),
    ],
)
def test_what_a_changed_file_does_to_experiments_is_said(after, says):
    told = ExperimentChanges().note(fleet_with(GUARD), fleet_with(*after), NOW)

    assert (told == []) if says is None else (len(told) == 1 and says in told[0])


def test_it_is_told_for_a_day_and_of_each_the_last_word():
    changes = ExperimentChanges()
    changes.note(fleet_with(GUARD), fleet_with({**GUARD, "share": 0.2}), NOW)
    changes.note(fleet_with({**GUARD, "share": 0.2}), fleet_with(), NOW + timedelta(hours=2))

    (told,) = changes.told(NOW + timedelta(hours=25))
    assert "is gone from the file" in told and told.endswith("(at 2026-12-02T05:00:00Z)")
    assert changes.told(NOW + timedelta(hours=27)) == []


@pytest.mark.parametrize(
    ("back", "says"), [(GUARD, None), ({**GUARD, "share": 0.2}, "divides requests in another way")]
)
def test_one_that_comes_back_is_compared_with_what_it_was(back, says):
    changes, away, later = ExperimentChanges(), fleet_with(), NOW + timedelta(hours=1)
    changes.note(fleet_with(GUARD), away, NOW)
    assert changes.note(away, away, NOW) == []

    told = changes.note(away, fleet_with(back), later)

    assert told == [x.split(" (at")[0] for x in changes.told(later)]
    assert (told == []) if says is None else says in told[0]


async def test_whoever_reads_the_file_first_status_has_it(tmp_path):
    """The watch may be quicker than the command, which then finds nothing changed."""
    files = tmp_path / "fleet.yaml", tmp_path / "tenants.yaml"
    plain = fleet_with().model_dump(mode="json", exclude_unset=True)
    listed = {**GUARD, "starts": STARTS.date(), "tiers": ["pad"]}
    files[0].write_text(yaml.safe_dump({**plain, "experiments": [{**listed, "share": 0.2}]}))
    files[1].write_text(yaml.safe_dump(TENANTS))
    reloader = Reloader(*files, fleet_with({**GUARD, "tiers": ["pad"]}), lambda _: None)

    first, second = await reloader.reload(), await reloader.reload()

    assert any("divides requests in another way" in x for x in first["warnings"])
    assert any("no tier 'pad'" in x for x in first["warnings"])
    assert not any("another way" in x for x in second["warnings"])
    assert any("divides requests in another way" in x for x in reloader.warnings())
