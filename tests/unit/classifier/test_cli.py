"""`pointsman classifier` from files to files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from classifier.artifact import load_artifact
from serve_app.cli import main


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Forty labelled rows of two sources."""
    path = tmp_path / "rows.jsonl"
    lines = []
    for i in range(20):
        lines.append({"source": "s", "text": f"prove {i} " * (i + 1), "weak": 0, "strong": i % 2})
        lines.append({"source": "t", "text": f"card {i}", "tier": "easy" if i % 3 else "complex"})
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_train_writes_an_artefact_that_loads(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command prints where it is and the threshold for 3 %."""
    code = main(
        ["classifier", "train", "--data", str(rows), "--out", str(tmp_path / "a"), "--json"]
    )

    printed = json.loads(capsys.readouterr().out)
    assert code == 0
    assert printed["threshold_3_percent"] == load_artifact(tmp_path / "a").threshold_for_share(0.03)


def test_score_adds_one_number_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines keep their fields, in order."""
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    messages = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    source.write_text(
        json.dumps({"id": 1, "text": "hello"}) + "\n\n" + json.dumps({"messages": messages}) + "\n"
    )

    main(["classifier", "score", "--input", str(source), "--output", str(target)])

    first, second = map(json.loads, target.read_text().splitlines())
    assert first["id"] == 1
    assert first["score"] == second["score"]
    assert "scored: 2" in capsys.readouterr().out


def test_evaluate_reports_each_source_beside_prompt_length(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Held out or not, the baseline stands in the same table."""
    main(["classifier", "evaluate", "--data", str(rows), "--json"])

    report = json.loads(capsys.readouterr().out)["sources"]
    assert [row["by"] for row in report] == ["classifier", "prompt length"]
