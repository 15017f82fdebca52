"""`pointsman advise` of a running deployment."""

import json

import pytest

from serve_app.cli import build_parser, main
from serve_app.commands import advise

ROW = {
    "trigger": "waiting",
    "subject": "chat",
    "state": "firing",
    "severity": "now",
    "since": 0.0,
    "condition": "more than 4 requests wait",
    "value": 9.5,
    "unit": "requests a replica",
    "limit": 4,
    "remedy": "lanes.chat.replicas: 1 -> 2",
    "price": "+700 USD a month",
    "undo": "lanes.chat.replicas back to 1",
    "expected": {"says": "p95 TTFT 6 -> 0.3 s"},
    "confidence": {"sure": 1.0, "coverage": 1.0, "samples": 8},
    "source": "FP8 guide",
}


@pytest.fixture
def deployment(monkeypatch):
    told = {"enabled": True, "at": 60.0, "rows": [ROW]}
    asked = []

    def request(args, method, path, *, operates):
        asked.append((method, path, operates))
        return told

    monkeypatch.setattr(advise, "request_json", request)
    return told, asked


def test_it_asks_as_the_operator_and_shows_every_column(deployment, capsys):
    _, asked = deployment

    assert main(["advise"]) == 1

    told = capsys.readouterr().out
    assert asked == [("GET", "/admin/advice", True)]
    for part in ("9.5 requests a replica (limit 4)", "1 -> 2", "+700 USD", "0.3 s", "FP8 guide"):
        assert part in told


def test_json_is_what_the_deployment_said(deployment, capsys):
    told, _ = deployment
    told["rows"] = [{**ROW, "severity": "save"}]

    assert main(["advise", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == told


def test_before_the_first_point_that_is_said(deployment, capsys):
    told, _ = deployment
    told |= {"at": None, "rows": []}

    assert main(["advise"]) == 0
    assert "no point was taken yet" in capsys.readouterr().out


def test_where_it_is_off_that_is_said_with_the_key(deployment, capsys):
    told, _ = deployment
    told["enabled"] = False

    assert main(["advise"]) == 1
    assert "advice.enabled" in capsys.readouterr().err


def test_a_window_is_read_from_this_machines_history(deployment, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path))
    _, asked = deployment

    assert main(["advise", "--window", "30m"]) == 1
    assert not asked
    assert str(tmp_path / "advice.db") in capsys.readouterr().err


def test_times_are_read_with_their_unit():
    parsed = build_parser().parse_args(["advise", "--window", "1.5h"])

    assert parsed.window == 5400
