"""The embedder that a package carries, as the baseline uses it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from classifier.dataset import read_rows
from serve_app.cli import main

pytestmark = pytest.mark.filterwarnings("ignore")  # torch and transformers warn at import


def test_minilm_puts_like_with_like() -> None:
    """Two card questions are nearer to each other than to a proof."""
    from classifier.embedder import MiniLM

    card, bank, proof = MiniLM()(["Where is my card?", "My bank card is lost.", "Prove it."])

    assert card.shape == (384,)
    assert card @ bank > card @ proof
    assert np.linalg.norm(card) == pytest.approx(1.0, abs=1e-5)


def test_minilm_stands_beside_the_classifier(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`evaluate --minilm` reports both, and prompt length, on the same rows."""
    path = tmp_path / "rows.jsonl"
    rows = [
        {"source": source, "text": f"{source} question {i}", "weak": 0, "strong": i // 2 % 2}
        for source in ("s", "t")
        for i in range(12)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))

    main(["classifier", "evaluate", "--data", str(path), "--minilm", "6", "--json"])

    report = json.loads(capsys.readouterr().out)["held_out_sources_sampled"]
    assert [row["by"] for row in report if row["source"] == "s"] == [
        "MiniLM + LR",
        "classifier",
        "prompt length",
    ]
    assert {row["rows"] for row in report} == {6}


def test_rows_are_sampled_evenly_over_each_source(tmp_path: Path) -> None:
    """Every other row of a source of twelve, when six are asked for."""
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"source": "s", "text": "x" * i}) for i in range(12)))

    assert len(read_rows([path], per_source=6).source) == 6
