"""`pointsman classifier` from files to files."""

from __future__ import annotations

import json

import numpy as np
import pytest

from classifier import DEFAULT_ARTIFACT, Conversation, load_artifact
from classifier.recalibrate import MIN_SCORES
from classifier.training import build
from serve_app.cli import main
from tests.unit.classifier.made import FakeTeacher, made_rows

SCORER = load_artifact(DEFAULT_ARTIFACT).scorer()


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """Labelled rows in a file, and a teacher that needs no model."""
    whole = build.training_set
    monkeypatch.setattr("classifier.training.teacher.Teacher", lambda _: FakeTeacher())
    monkeypatch.setattr(build, "training_set", lambda d: whole(d, joined=10))
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, made_rows())))
    return path


@pytest.fixture
def log(tmp_path):
    """Scores of the shipped artefact in a request log, of another one, and half a line."""
    folder = tmp_path / "log"
    folder.mkdir()
    rng = np.random.default_rng(0)
    own = [
        {"classifier": SCORER.version, "score": float(s), "lane": "chat"}
        for s in rng.random(MIN_SCORES + 500) * 0.2
    ]
    other = [{"classifier": "older", "score": 0.99}, {"classifier": SCORER.version, "score": None}]
    text = "\n".join(map(json.dumps, [*own, *other])) + '\n{"classifier": "'
    (folder / "requests-a.jsonl").write_text(text)
    return folder


@pytest.mark.slow
def test_train_writes_an_artefact_that_loads(rows, tmp_path, capsys):
    """The command prints where it is and the threshold for 3 %."""
    out = tmp_path / "a"

    code = main(["classifier", "train", "--data", str(rows), "--out", str(out), "--json"])

    printed = json.loads(capsys.readouterr().out)
    artifact = load_artifact(out)
    assert code == 0
    assert printed["threshold_3_percent"] == artifact.threshold_for_share(0.03)
    assert artifact.training["rows"] == {f"s{n}": 48 for n in range(5)}
    assert "ece_pooled" in artifact.training


def test_evaluate_prints_a_row_a_source(rows, capsys):
    """Classifier and prompt length beside each other."""
    assert main(["classifier", "evaluate", "--data", str(rows), "--json"]) == 0

    printed = json.loads(capsys.readouterr().out)
    assert {row["by"] for row in printed["sources"]} == {"classifier", "prompt length"}


def test_score_adds_one_number_a_line(tmp_path, capsys):
    """Lines keep their fields, in order; blank lines go."""
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Prove it"}]
    source.write_text(
        json.dumps({"text": "héllo", "id": 7}) + "\n\n" + json.dumps({"messages": messages})
    )

    code = main(["classifier", "score", "--input", str(source), "--output", str(target), "--json"])

    first, second = map(json.loads, target.read_text().splitlines())
    assert code == 0
    assert json.loads(capsys.readouterr().out)["scored"] == 2
    assert first == {"text": "héllo", "id": 7, "score": SCORER.score(Conversation("héllo"))}
    assert second["score"] == SCORER.score(Conversation("Prove it", "Be brief."))


def test_score_uses_every_core_for_a_long_file_and_keeps_the_order(tmp_path):
    """More lines than one process is worth."""
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(f'{{"text": "row {n}"}}\n' for n in range(12_345)))

    assert main(["classifier", "score", "--input", str(source), "--output", str(target)]) == 0

    scored = [json.loads(line) for line in target.read_text().splitlines()]
    assert [row["text"] for row in scored] == [f"row {n}" for n in range(12_345)]
    assert scored[-1]["score"] == SCORER.score(Conversation("row 12344"))


def test_a_line_that_cannot_be_scored_is_named_and_leaves_no_output(tmp_path, capsys):
    """Half an output would be taken for a whole one."""
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"text": "fine"}\n{"texts": "not"}\n')

    code = main(["classifier", "score", "--input", str(source), "--output", str(target)])

    assert code == 1
    assert "in.jsonl:2: a row needs 'text'" in capsys.readouterr().err
    assert not target.exists()
    assert list(tmp_path.iterdir()) == [source]


def test_calibrate_takes_the_thresholds_from_the_log(log, tmp_path, capsys):
    """Only scores of this artefact count; the scorer stays the same."""
    out = tmp_path / "mine"

    code = main(["classifier", "calibrate", "--traffic", str(log), "--out", str(out), "--json"])

    printed = json.loads(capsys.readouterr().out)
    artifact = load_artifact(out)
    assert code == 0
    assert artifact.threshold_for_share(0.03) == pytest.approx(0.194, abs=0.004)
    assert printed["version"].startswith(SCORER.version + "+")
    text = Conversation("Prove it.")
    assert artifact.scorer().score(text) == SCORER.score(text)


def test_calibrate_with_labels_fits_the_probabilities_anew(log, tmp_path):
    """The order of scores stays, their values follow the labels."""
    labels, out = tmp_path / "labels.jsonl", tmp_path / "mine"
    made = [{"text": f"Prove number {n}", "weak": n % 2, "strong": 1} for n in range(400)]
    labels.write_text("\n".join(map(json.dumps, made)))
    flags = ["--traffic", str(log), "--data", str(labels), "--out", str(out)]

    assert main(["classifier", "calibrate", *flags]) == 0

    scorer = load_artifact(out).scorer()
    assert scorer.score(Conversation("Prove number 207")) == pytest.approx(0.5, abs=0.1)


def test_calibrate_refuses_a_log_that_is_too_short(tmp_path, capsys):
    """A threshold of a few scores would be chance."""
    path = tmp_path / "requests-a.jsonl"
    path.write_text(json.dumps({"classifier": SCORER.version, "score": 0.5}))

    code = main(
        ["classifier", "calibrate", "--traffic", str(path), "--out", str(tmp_path / "mine")]
    )

    assert code == 1
    assert f"hold 1 scores of {SCORER.version}" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["score", "evaluate", "calibrate", "train"])
def test_a_missing_file_is_named(action, tmp_path, capsys):
    """No stack trace for a slip of the pen."""
    flags = {
        "score": ["--input", "none.jsonl", "--output", "x"],
        "evaluate": ["--data", "none.jsonl"],
        "calibrate": ["--traffic", "none.jsonl", "--out", "x"],
        "train": ["--data", "none.jsonl", "--out", "x"],
    }[action]

    assert main(["classifier", action, *flags]) == 1

    assert "none.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["train", "evaluate", "calibrate", "score", "label", "report"])
def test_every_action_has_an_example_and_json(action, capsys):
    """`--help` of each."""
    with pytest.raises(SystemExit, match="0"):
        main(["classifier", action, "--help"])

    told = capsys.readouterr().out
    assert f"pointsman classifier {action}" in told
    assert "example:" in told
    assert "--json" in told
