"""Grafana's dashboards and provisioning out of the table.

The JSON is that of Grafana 11 (schema 39). Datasource and lanes are variables, so that a
dashboard works in any Grafana that has a Prometheus.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serve_app.observe.prometheus import dump
from serve_app.observe.table import DASHBOARDS, Dashboard, Needs, Panel
from serve_app.observe.table.rows import Query

SCHEMA = 39
COLUMNS = 24
HEIGHT = 8
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
RUNBOOKS = "pointsman-runbooks"

_VALUES = {
    "lane": "label_values(pointsman_active_sessions, lane)",
    "tenant": "label_values(pointsman_tokens_total, tenant)",
}


def uid(dashboard: Dashboard) -> str:
    return f"pointsman-{dashboard.name}"


def dashboard_file(dashboard: Dashboard, runbooks: list[str]) -> str:
    """One dashboard as JSON; `runbooks` are the names in the order of their dashboard."""
    numbers = {name: number for number, name in enumerate(runbooks, 1)}
    return _json(
        {
            **_frame(uid(dashboard), dashboard.title, dashboard.means),
            "links": list(_menu()),
            "templating": {"list": list(_variables(dashboard))},
            "panels": list(_panels(dashboard, numbers)),
        }
    )


def runbooks_file(folder: Path) -> str:
    """A dashboard that holds the runbooks themselves: links to them work offline."""
    texts = {path.stem: path.read_text() for path in runbooks_in(folder)}
    panels = [
        {
            "id": number,
            "type": "text",
            "title": name,
            "gridPos": {"x": 0, "y": (number - 1) * 2 * HEIGHT, "w": COLUMNS, "h": 2 * HEIGHT},
            "options": {"mode": "markdown", "content": text},
        }
        for number, (name, text) in enumerate(texts.items(), 1)
    ]
    frame = _frame(RUNBOOKS, "Pointsman: runbooks", "What to do about each alert.")
    return _json({**frame, "links": list(_menu()), "panels": panels})


def runbooks_in(folder: Path) -> list[Path]:
    """Files of the runbooks, one an alert, in the order of their names."""
    return sorted(path for path in folder.glob("*.md") if path.stem != "README")


def datasources_file() -> str:
    """Provisioning of the datasource; POINTSMAN_PROMETHEUS is the address of Prometheus."""
    return dump(
        {
            "apiVersion": 1,
            "datasources": [
                {
                    "name": "Prometheus",
                    "type": "prometheus",
                    "uid": "pointsman-prometheus",
                    "access": "proxy",
                    "url": "$POINTSMAN_PROMETHEUS",
                    "isDefault": True,
                    "jsonData": {"timeInterval": "15s"},
                }
            ],
        }
    )


def providers_file() -> str:
    """Provisioning of the dashboards; POINTSMAN_DASHBOARDS is the folder with their JSON."""
    return dump(
        {
            "apiVersion": 1,
            "providers": [
                {
                    "name": "pointsman",
                    "folder": "Pointsman",
                    "type": "file",
                    "allowUiUpdates": False,
                    "options": {"path": "$POINTSMAN_DASHBOARDS"},
                }
            ],
        }
    )


def _frame(name: str, title: str, means: str) -> dict[str, Any]:
    return {
        "uid": name,
        "title": title,
        "description": means,
        "tags": ["pointsman"],
        "schemaVersion": SCHEMA,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
    }


def _menu() -> Iterator[dict[str, Any]]:
    titles = {uid(each): each.title for each in DASHBOARDS} | {RUNBOOKS: "Pointsman: runbooks"}
    for name, title in titles.items():
        yield {
            "title": title.removeprefix("Pointsman: "),
            "type": "link",
            "url": f"/d/{name}",
            "keepTime": True,
            "includeVars": True,
            "icon": "dashboard",
            "tooltip": "",
            "tags": [],
            "asDropdown": False,
            "targetBlank": False,
        }


def _variables(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    for name in dashboard.variables:
        yield {
            "name": name,
            "label": name.capitalize(),
            "type": "query",
            "datasource": SOURCE,
            "query": _VALUES[name],
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        }


def _panels(dashboard: Dashboard, runbooks: dict[str, int]) -> Iterator[dict[str, Any]]:
    number, y = 0, 0
    for heading, panels in dashboard.rows.items():
        number += 1
        grid = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        yield {
            "id": number,
            "type": "row",
            "title": heading,
            "collapsed": False,
            "gridPos": grid,
            "panels": [],
        }
        x, y = 0, y + 1
        for panel in panels:
            if x + panel.width > COLUMNS:
                x, y = 0, y + HEIGHT
            number += 1
            grid = {"x": x, "y": y, "w": panel.width, "h": HEIGHT}
            yield {"id": number, "gridPos": grid, **_panel(panel, runbooks)}
            x += panel.width
        y += HEIGHT


def _panel(panel: Panel, runbooks: dict[str, int]) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.means,
        "datasource": SOURCE,
        "targets": [_target(query, panel, at) for at, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _field(panel), "overrides": _dashes(panel)},
        "options": _options(panel),
        # An installed wheel has no pages.
        "links": [_runbook(name, runbooks[name]) for name in panel.alerts if name in runbooks],
    }


def _target(query: Query, panel: Panel, at: int) -> dict[str, Any]:
    return {
        "refId": chr(ord("A") + at),
        "expr": query.expr,
        "legendFormat": query.legend,
        "range": panel.kind == "timeseries",
        "instant": panel.kind != "timeseries",
    }


def _field(panel: Panel) -> dict[str, Any]:
    field: dict[str, Any] = {
        "unit": panel.unit,
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": _steps(panel)},
    }
    if panel.needs is not Needs.TRAFFIC:
        field["noValue"] = f"none yet: needs {panel.needs.value}"
    if panel.kind == "timeseries":
        style = "dashed" if panel.marks else "off"
        field["custom"] = {"fillOpacity": 8, "thresholdsStyle": {"mode": style}}
    return field


def _steps(panel: Panel) -> list[dict[str, Any]]:
    """Colours by value; the lowest step has no value."""
    colours = ["yellow", "red"][-len(panel.marks) :] if panel.marks else []
    marks = list(panel.marks)
    if panel.low_is_bad:
        steps: list[tuple[float | None, str]] = list(
            zip([None, *reversed(marks)], [*reversed(colours), "green"], strict=True)
        )
    else:
        steps = list(zip([None, *marks], ["green", *colours], strict=True))
    return [{"value": value, "color": colour} for value, colour in steps]


def _dashes(panel: Panel) -> list[dict[str, Any]]:
    """Limits are drawn as dashed lines."""
    if panel.kind != "timeseries" or not any("limit" in x.legend for x in panel.queries):
        return []
    line = {"fill": "dash", "dash": [8, 8]}
    return [
        {
            "matcher": {"id": "byRegexp", "options": "^limit .*"},
            "properties": [{"id": "custom.lineStyle", "value": line}],
        }
    ]


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "timeseries":
        return {
            "legend": {
                "displayMode": "list",
                "placement": "bottom",
                "showLegend": True,
                "calcs": [],
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    return {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}


def _runbook(name: str, number: int) -> dict[str, Any]:
    return {
        "title": f"Runbook: {name}",
        "url": f"/d/{RUNBOOKS}?viewPanel={number}",
        "targetBlank": True,
    }


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
