"""Every command that reads traces finds them where the deployment has put them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from classifier import DEFAULT_ARTIFACT, load_artifact
from evals.traces.folder import day_folder
from evals.traces.parts import write_traces
from evals.traces.trace import Trace
from serve_app.cli import main
from serve_app.config.served import note_served
from serve_app.config.settings import fleet_path, home, load_fleet


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """A fleet whose traces are not in the state directory; it served here once."""
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path / "state"))
    path = tmp_path / "mine.yaml"
    path.write_text(f"{fleet_path('local').read_text()}\ntraces: {{path: {tmp_path / 'disk'}}}\n")
    note_served(path, load_fleet(path))
    at = datetime(2026, 11, 29, 12, tzinfo=UTC)
    trace = Trace(
        time=at,
        request_id="r1",
        tenant="local",
        tier="paid",
        api="/v1/chat/completions",
        body={"messages": [{"role": "user", "content": "Hello"}]},
        answer="Hello!",
        lane="chat",
        score=0.1,
        propensity=1.0,
        classifier=load_artifact(DEFAULT_ARTIFACT).version,
        code="200",
    )
    write_traces(day_folder(tmp_path / "disk", at.date()) / "9d-i1-0.parquet", [trace])
    (tmp_path / "rewards.jsonl").write_text('{"tenant": "local", "request_id": "r1", "reward": 1}')
    return tmp_path


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["traces", "export"], '"request_id": "r1"'),
        (["traces", "list"], "1 days, 1 requests"),
        (["traces", "delete", "--tenant", "local"], "1 requests of local deleted"),
        (["replay", "--classifier", str(DEFAULT_ARTIFACT)], "requests: 1"),
        (["replay", "--fleet", "local"], "1  chat -> chat"),
        (["classifier", "calibrate", "--lanes", "chat,chat2"], "no scored request went to 'chat2'"),
    ],
    ids=lambda x: " ".join(x[:2]) if isinstance(x, list) else "",
)
def test_traces_are_found(elsewhere, capsys, words, says):
    more = ["--rewards", str(elsewhere / "rewards.jsonl")] if "calibrate" in words else []

    main([*words, *more])

    told = capsys.readouterr()
    assert says in told.out + told.err


@pytest.mark.parametrize("words", [["replay", "--fleet"], ["traces", "list", "--fleet"]])
def test_a_fleet_file_is_one_from_where_it_is_typed(elsewhere, monkeypatch, capsys, words):
    """As everywhere on a command line; only a name is looked for in the home."""
    monkeypatch.setenv("POINTSMAN_HOME", str(home()))
    monkeypatch.chdir(elsewhere)

    assert main([*words, "mine.yaml"]) == 0

    assert "1" in capsys.readouterr().out


def test_a_node_without_traces_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path))
    (tmp_path / "rewards.jsonl").write_text("")

    assert main(["replay", "--classifier", str(DEFAULT_ARTIFACT)]) == 1
    told = ["--rewards", str(tmp_path / "rewards.jsonl")]
    assert main(["classifier", "calibrate", "--lanes", "chat,quality", *told]) == 1

    assert capsys.readouterr().err.count(f"{tmp_path / 'traces'}: there are no traces") == 2
