"""Values of a fleet file are changed in place, and nothing else is."""

from __future__ import annotations

import stat

import pytest
import yaml

from serve_app.config.errors import ConfigError
from serve_app.config.fleet_edit import set_routing, with_values
from serve_app.config.settings import fleet_path, load_fleet

FLOW = "name: x\nrouting: {default: chat, escalation_share: 0.03}  # who\n"


@pytest.fixture
def fleet(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(fleet_path("local").read_text())
    path.chmod(0o640)
    return path


def test_a_value_is_replaced_and_every_other_byte_stays(fleet):
    before = fleet.read_text()

    set_routing(fleet, {"escalation_share": 0.18})

    assert fleet.read_text() == before.replace("escalation_share: 0.03", "escalation_share: 0.18")
    assert load_fleet(fleet).routing.escalation_share == 0.18
    assert stat.S_IMODE(fleet.stat().st_mode) == 0o640


def test_what_was_not_there_comes_first_in_its_section(fleet):
    set_routing(fleet, {"classifier": "artifacts/a: b", "frontier_share": 0.002})

    text, routing = fleet.read_text(), load_fleet(fleet).routing
    assert 'routing:\n  classifier: "artifacts/a: b"\n  frontier_share: 0.002\n  default' in text
    assert (routing.classifier, routing.frontier_share) == ("artifacts/a: b", 0.002)
    assert '# "Route ~3%' in text


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        (FLOW, {"escalation_share": 0.5}, FLOW.replace("0.03", "0.5")),
        (FLOW, {"classifier": None}, FLOW.replace("{default", "{classifier: null, default")),
        ("routing:\n  default:\n  x: 1\n", {"default": "a"}, 'routing:\n  default: "a"\n  x: 1\n'),
        ("routing: {a: 1e-3}\n", {"a": 0.00001}, "routing: {a: 0.00001}\n"),
    ],
)
def test_sections_of_every_form_are_written_into(text, values, expected):
    found = with_values(text, "routing", values)

    assert found == expected
    assert yaml.safe_load(found)["routing"].items() >= values.items()


@pytest.mark.parametrize("text", ["name: x\n", "routing: none\n", "routing: {}\n", "- 1\n", ""])
def test_a_section_that_is_none_is_told(text):
    with pytest.raises(ConfigError, match="no section 'routing'"):
        with_values(text, "routing", {"a": 1.0})


@pytest.mark.parametrize("share", [0.7, -1.0])
def test_a_file_that_would_not_be_valid_stays_as_it_is(fleet, share):
    before = fleet.read_text()

    with pytest.raises(ConfigError, match=r"/mine\.yaml.*escalation_share"):
        set_routing(fleet, {"escalation_share": share})

    assert fleet.read_text() == before
    assert [x.name for x in fleet.parent.iterdir()] == ["mine.yaml"]


def test_a_value_that_others_share_is_left_to_a_person(fleet):
    text = fleet.read_text().replace("escalation_share: 0.03", "escalation_share: &x 0.03")
    fleet.write_text(text.replace("failures_ratio: 0.01", "failures_ratio: *x"))

    with pytest.raises(ConfigError):
        set_routing(fleet, {"escalation_share": 0.18})
    assert load_fleet(fleet).routing.escalation_share == 0.03


def test_a_link_stays_one(fleet, tmp_path):
    link = tmp_path / "link.yaml"
    link.symlink_to(fleet)

    set_routing(link, {"escalation_share": 0.18})

    assert link.is_symlink()
    assert load_fleet(fleet).routing.escalation_share == 0.18
