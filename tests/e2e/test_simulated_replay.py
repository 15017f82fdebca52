"""`pointsman replay` and a deployment: asked as background work, and nothing stays behind."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from evals.replay.history import days_of
from serve_app import cli
from serve_app.advice.replays import history_path
from tests.e2e.support import chat, eventually, is_idle


def test_a_replay_asks_both_lanes_and_leaves_nothing(
    simulated: str, http: httpx.Client, tmp_path: Path
) -> None:
    """The whole way: lanes by their names, room by /status, answers of both, figures, page."""
    cases = [
        {"id": str(n), "messages": chat(f"case {n}")["messages"], "max_tokens": 4, "answer": "x"}
        for n in range(2)
    ]
    gold = tmp_path / "gold.jsonl"
    gold.write_text("".join(json.dumps(case) + "\n" for case in cases))
    said = io.StringIO()

    with contextlib.redirect_stdout(said):
        words = ["replay", "--compare", "quality,chat", "--gold", str(gold), "--json"]
        status = cli.main([*words, "--url", simulated, "--out", str(tmp_path / "run")])

    (told,) = json.loads(said.getvalue())["runs"]
    assert status == 3
    assert (told["cases"], told["unanswered"], told["failures"]) == (2, 0, {})
    rows = [json.loads(x) for x in (tmp_path / "run/gold/answers.jsonl").read_text().splitlines()]
    models = {(x["lane"], x["said"]["model"]) for x in rows}
    assert models == {("chat", "simulated-chat"), ("quality", "simulated-quality")}
    assert all(x["said"]["text"] for x in rows)
    assert "too few to tell" in Path(told["report"]).read_text()
    eventually(lambda: is_idle(http, simulated))


@pytest.mark.timeout(300)
def test_a_daily_replay_is_a_job_of_ray_whose_day_is_in_the_history(
    simulated: str, tmp_path: Path
) -> None:
    """The printed line, as it is, in a shell: Ray's token, whole paths, the head's state."""
    gold = tmp_path / "gold.jsonl"
    # Short: whole answers of this fleet may not take longer than its `read_s`.
    case = {"messages": chat("case")["messages"], "answer": "x", "max_tokens": 4}
    gold.write_text(json.dumps(case) + "\n")
    said = io.StringIO()
    words = ["replay", "--daily", "--lane", "chat", "--gold", str(gold), "--url", simulated]

    with contextlib.redirect_stdout(said), pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["pointsman", *words, "--print-job"])
        assert cli.main([*words, "--print-job"]) == 0
    folder = f"PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"
    done = subprocess.run(
        ["bash", "-c", f"{folder} {said.getvalue()}"],
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert history_path().is_file(), done.stdout + done.stderr
    days = days_of(history_path().read_text().splitlines())
    assert [(day.lane, day.against, day.cases) for day in days] == [("chat", "gold", 1)]
