"""Users' judgements as rows to train on."""

import json
import stat
from contextlib import closing
from datetime import UTC, datetime
from math import isnan

import pytest

from classifier.training.dataset import read_rows
from serve_app.bodies.parsed_request import Prompt
from serve_app.cli import main
from serve_app.records.feedback_store import FILE_NAME, Feedback
from tests.unit.serve_app.records.records import make_store, record


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store with one request of each lane and their judgements."""
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path))
    at = datetime.now(UTC)
    now = at.timestamp()
    lanes = {"weak": "chat", "strong": "quality", "other": "code"}
    with closing(make_store(tmp_path / FILE_NAME)) as made:
        for name, lane in lanes.items():
            for number in range(2):
                kept = {"prompt": Prompt("", (f"{name} {number}",), 9, 1), "keep_prompt_days": 1}
                made.write([record(f"{name}{number}", lane=lane, time=at, **kept)])
        made.write([record("no-prompt", time=at)])
        for request in ("weak0", "strong0", "other0", "no-prompt"):
            made.give("acme", Feedback(request, thumb="up"), now=now)
        made.give("acme", Feedback("weak1", thumb="down"), now=now)
        for better, worse in (("strong1", "weak1"), ("weak0", "strong0"), ("other1", "weak0")):
            made.give("acme", Feedback(better, preferred_over=worse), now=now)
    return tmp_path


def label(out, *extra):
    args = ["classifier", "label", "--feedback", "--lanes", "chat,quality", "--out", str(out)]
    return main([*args, *extra])


def test_judgements_of_the_two_lanes_become_outcomes(store, capsys):
    """A thumb of the weak lane's answer, a preference of both; nothing else says anything."""
    out = store / "mine.jsonl"

    assert label(out, "--json") == 0

    counts = json.loads(capsys.readouterr().out)
    assert counts == {
        "out": str(out), "rows": 4, "thumbs": 2, "preferences": 2, "skipped": 3,
    }  # fmt: skip
    data = read_rows([out])
    found = {
        (text, weak, None if isnan(strong) else strong)
        for text, weak, strong in zip(data.text, data.weak, data.strong, strict=True)
    }
    assert found == {
        ("weak 0", 1.0, None),
        ("weak 1", 0.0, None),
        ("strong 1", 0.0, 1.0),
        ("weak 0", 1.0, 0.0),
    }
    assert set(data.source) == {"feedback"}
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


def test_a_file_that_is_there_is_left_alone(store, capsys):
    """It may hold what is not kept any more."""
    out = store / "mine.jsonl"
    out.write_text("mine")

    assert label(out) == 2

    assert out.read_text() == "mine"
    assert "already" in capsys.readouterr().err


def test_without_a_store_it_says_where_it_looked(tmp_path, monkeypatch, capsys):
    """The state directory may be another one."""
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path))

    assert label(tmp_path / "mine.jsonl") == 2

    assert "POINTSMAN_STATE" in capsys.readouterr().err


@pytest.mark.parametrize("args", [["--feedback"], ["--prompts", "x.jsonl"]])
def test_what_each_needs_besides(store, capsys, args):
    """Feedback a file to write, prompts a number of samples."""
    assert main(["classifier", "label", *args, "--lanes", "chat,quality"]) == 2
    err = capsys.readouterr().err
    assert "--out FILE" in err or "--samples N" in err
