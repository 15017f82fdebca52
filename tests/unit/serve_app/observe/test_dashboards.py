"""Dashboards are read by Grafana's own types, and nothing of them is lost on the way."""

import copy
import json
import re
from pathlib import Path

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from serve_app.observe.table import DASHBOARDS

FOLDER = Path(__file__).parents[4] / "configs" / "grafana"
FILES = sorted((FOLDER / "dashboards").glob("*.json"))


def read_by_grafana(content):
    """What its types keep of a dashboard."""
    register_default_plugins()
    return json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(content)))


def lost(given, kept, at="") -> list[str]:
    """Where what was kept is less than, or other than, what was given."""
    if isinstance(given, dict) and isinstance(kept, dict):
        return [x for key in given for x in lost(given[key], kept.get(key, "-"), f"{at}.{key}")]
    if isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        pairs = enumerate(zip(given, kept, strict=True))
        return [x for i, (a, b) in pairs for x in lost(a, b, f"{at}[{i}]")]
    return [] if given == kept else [f"{at}: {given!r} -> {kept!r}"]


def read(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize("path", FILES, ids=lambda x: x.stem)
def test_grafana_keeps_all_of_a_dashboard(path):
    content = read(path)

    assert lost(content, read_by_grafana(content)) == []


def test_a_wrong_key_would_be_lost():
    content = copy.deepcopy(read(FOLDER / "dashboards" / "fleet.json"))
    content["panels"][1]["fieldConfig"]["defaults"]["units"] = "s"

    assert lost(content, read_by_grafana(content)) == [
        ".panels[1].fieldConfig.defaults.units: 's' -> '-'"
    ]


def test_units_are_grafana_s():
    """An id that it does not know would be shown as text behind the number."""
    known = {value for value in vars(units).values() if isinstance(value, str)}

    assert {panel.unit for dashboard in DASHBOARDS for panel in dashboard.panels} <= known


def test_there_is_one_for_each_of_the_table_and_one_of_runbooks():
    names = {dashboard.name for dashboard in DASHBOARDS}

    assert {path.stem for path in FILES} == names | {"runbooks"}
    assert {read(path)["uid"] for path in FILES} == {f"pointsman-{path.stem}" for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda x: x.stem)
def test_panels_have_ids_of_their_own_and_lie_beside_each_other(path):
    """A panel that another covers, or an id that stands twice, Grafana would put elsewhere."""
    panels = read(path)["panels"]
    taken = set()
    for panel in panels:
        grid = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert grid["x"] + grid["w"] <= 24
        assert not cells & taken
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


@pytest.mark.parametrize("path", FILES, ids=lambda x: x.stem)
def test_links_lead_to_dashboards_and_panels_that_are_there(path):
    content, files = read(path), {read(x)["uid"]: read(x) for x in FILES}
    links = [*content["links"], *(x for panel in content["panels"] for x in panel.get("links", ()))]
    for link in links:
        found = re.fullmatch(r"/d/([a-z-]+)(?:\?viewPanel=(\d+))?", link["url"])
        panels = files[found[1]]["panels"]
        if found[2]:
            title = next(panel["title"] for panel in panels if panel["id"] == int(found[2]))
            assert link["title"] == f"Runbook: {title}"


@pytest.mark.parametrize("path", FILES, ids=lambda x: x.stem)
def test_variables_that_are_used_are_made_and_the_other_way_round(path):
    content = read(path)
    queries = json.dumps([panel.get("targets", []) for panel in content["panels"]])
    used = set(re.findall(r"\$([a-z]+)\b(?!_)", queries))
    made = {x["name"] for x in content.get("templating", {}).get("list", [])} - {"datasource"}

    assert used == made


def test_provisioning_names_what_make_observe_sets():
    sources = yaml.safe_load((FOLDER / "provisioning/datasources/prometheus.yml").read_text())
    providers = yaml.safe_load((FOLDER / "provisioning/dashboards/pointsman.yml").read_text())

    assert sources["datasources"][0]["url"] == "$POINTSMAN_PROMETHEUS"
    assert providers["providers"][0]["options"]["path"] == "$POINTSMAN_DASHBOARDS"
