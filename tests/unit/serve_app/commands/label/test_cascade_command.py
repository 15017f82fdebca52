"""`pointsman classifier cascade`: an operator's rows to a verdict."""

import json
from math import log

import numpy as np
import pytest
from labelling import write

from serve_app.cli import main


def row(rng, number, *, knows):
    right = bool(rng.random() < 0.5)
    sure = float(np.clip(rng.normal(0.8 if right and knows else 0.4, 0.15), 0.01, 0.99))
    kept = {"logprob": [log(sure)], "entropy": [1 - sure], "margin": [sure]}
    text = f"secret {number}"
    return {"text": text, "domain": f"d{number % 3}", "weak": float(right), "signals": kept}


@pytest.fixture(params=[True, False], ids=["knows", "does not"])
def labelled(request, tmp_path):
    # Each test's own: which of them a process runs must not change the rows.
    rng = np.random.default_rng(0)
    rows = [row(rng, number, knows=request.param) for number in range(150)]
    return write(tmp_path / "mine.labelled.jsonl", rows), request.param


def test_it_says_whether_signals_beat_the_prompt(labelled, capsys):
    """In words, and never with a prompt."""
    path, knows = labelled

    assert main(["classifier", "cascade", "--data", str(path), "--draws", "50"]) == 0

    said = capsys.readouterr().out
    assert ("do not route by them" in said) is not knows
    assert ("leave routing.cascade out" in said) is not knows
    assert ("routing.cascade: {uncertainty: " in said) is knows
    assert "{'d0': 50, 'd1': 50, 'd2': 50}" in said and "secret" not in said


def test_it_says_the_same_to_programs(labelled, capsys):
    path, knows = labelled

    main(["classifier", "cascade", "--data", str(path), "--hold", "1", "--draws", "50", "--json"])

    said = json.loads(capsys.readouterr().out)
    assert said["beats"] is knows and said["hold"] == 1
    assert said["setting"]["beats"] is knows and said["setting"]["hold_tokens"] == 1
    assert said["stages"]["score"]["moved"] == 0 < said["stages"]["moves"]["moved"]
    names = ["prompt", "first margin", "mean log-probability", "signals", "both"]
    assert [one["name"] for one in said["figures"]] == names


@pytest.mark.parametrize("share", ["0", "0.6", "nan"])
def test_a_share_that_is_none_is_refused(share, capsys):
    with pytest.raises(SystemExit):
        main(["classifier", "cascade", "--data", "x", "--share", share])

    assert "--share" in capsys.readouterr().err


def test_rows_without_signals_are_not_judged(tmp_path, capsys):
    path = write(tmp_path / "rows.jsonl", [{"text": "x", "weak": 1.0}])

    assert main(["classifier", "cascade", "--data", str(path)]) == 1

    assert "0 rows have 'weak' and 'signals'" in capsys.readouterr().err
