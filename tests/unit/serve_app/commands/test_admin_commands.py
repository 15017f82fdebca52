"""`pointsman drain` and `pointsman audit`: what they ask and what they say."""

import json

import pytest

from serve_app.cli import main
from serve_app.commands import admin

DRAINED = {"ok": True, "replica": "r1", "lane": "chat", "draining": True, "ends": True}
SILENT = {"ok": False, "replica": None, "error": "did not answer"}


@pytest.fixture
def asked(monkeypatch):
    """What was asked; the answer to each path is a test's."""
    calls, answers = [], {}

    def request_json(_, method, path, body=None, *, operates):
        assert operates
        calls.append((method, path, body))
        return answers[path.partition("?")[0]]

    monkeypatch.setattr(admin, "request_json", request_json)
    return calls, answers


def test_a_replica_is_drained_to_its_end(asked, capsys):
    calls, answers = asked
    answers["/admin/replicas/r1/drain"] = DRAINED | {"in_flight": 2, "ingress": [{"ok": True}]}

    assert main(["drain", "r1", "--end", "--within", "60"]) == 0

    assert calls[0][2] == {"end": True, "within_s": 60, "force": False}
    assert "is drained, and ends when it is empty; 2 open" in capsys.readouterr().out


def test_an_ingress_replica_that_was_not_reached_is_a_failure(asked, capsys):
    _, answers = asked
    told = DRAINED | {"ok": False, "ends": False, "draining": False, "in_flight": 0}
    answers["/admin/replicas/r1/undrain"] = told | {"ingress": [SILENT]}

    assert main(["drain", "r1", "--undo"]) == 1

    out = capsys.readouterr().out
    assert "takes turns" in out and "did not answer" in out


def test_without_a_replica_they_are_listed(asked, capsys):
    _, answers = asked
    row = {"replica": "r1", "lane": "chat", "draining": False, "in_flight": 3}
    answers["/admin/replicas"] = {"replicas": [row]}

    assert main(["drain"]) == 0
    assert "takes turns" in capsys.readouterr().out
    assert main(["drain", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [row]


def test_the_trail_is_a_line_an_entry(asked, capsys):
    calls, answers = asked
    entry = {
        "at": "2026-03-04T05:06:07.8+00:00",
        "outcome": "done",
        "action": "keys.revoke",
        "target": "abcd",
        "who": {"key": None},
        "client": {"address": "127.0.0.1", "forwarded_for": ""},
    }
    answers["/admin/audit"] = {"entries": [entry]}

    assert main(["audit", "--limit", "3"]) == 0

    line = capsys.readouterr().out
    for word in ("2026-03-04T05:06:07", "keys.revoke abcd", "nobody's key", "127.0.0.1"):
        assert word in line
    assert calls[0][1] == "/admin/audit?limit=3"
