"""`pointsman classifier calibrate`: what the logs say of other thresholds."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from classifier import DEFAULT_ARTIFACT, load_artifact
from evals.traces.schema import SCHEMA
from evals.traces.trace import Trace
from serve_app.cli import main
from tests.unit.evals.off_policy.made_logs import made_log

VERSION = load_artifact(DEFAULT_ARTIFACT).version
COUNT = 12_000


@dataclass
class World:
    """A request log and the rewards of its requests."""

    log: Path
    rewards: Path
    rows: list[dict]

    def judge(self, *more: str) -> int:
        told = ["--traffic", str(self.log), "--rewards", str(self.rewards)]
        return main(["classifier", "calibrate", "--lanes", "chat,quality", *told, *more])


def line(log, n, **more):
    return {
        "request_id": f"r{n}",
        "tenant": f"t{log.tenant[n]}",
        "session": f"s{log.cluster[n]}",
        "lane": "quality" if log.went_up[n] else "chat",
        "score": float(log.score[n]),
        "propensity": float(log.propensity[n]),
        "classifier": VERSION,
        **more,
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrate")
    log, _, _ = made_log(COUNT, 1, epsilon=0.25, lift=0.45)
    rows = [line(log, n, shadow_score=1 - float(log.score[n])) for n in range(COUNT)]
    others = [line(log, 0, classifier="older"), line(log, 1, score=None)]
    path, rewards = folder / "requests-a.jsonl", folder / "rewards.jsonl"
    path.write_text("\n".join(map(json.dumps, [*rows, *others])) + "\nno JSON\n")
    told = (
        {"tenant": row["tenant"], "request_id": row["request_id"], "reward": float(reward)}
        for row, reward in zip(rows, log.reward, strict=True)
    )
    rewards.write_text("\n".join(map(json.dumps, told)))
    return World(path, rewards, rows)


def test_the_share_that_brings_more_is_recommended_with_its_interval(world, capsys):
    """Scores far from the threshold are not guessed at."""
    code = world.judge("--json", "--shares", "0.05,0.18,0.5", "--budgets", "0.05")

    told = json.loads(capsys.readouterr().out)["policies"]
    found = {row["policy"].split(" (")[0]: row for row in told["candidates"]}
    assert code == 0
    assert told["requests"] == COUNT
    assert told["recommended"].startswith("share 18.00%")
    assert found["share 18.00%"]["low"] > 0 > found["share 5.00%"]["high"]
    assert not found["share 50.00%"]["identified"]
    assert not found["the shadow classifier"]["identified"]
    assert found["budget 5.00%"]["share"] < told["share_now"]


def test_a_person_is_told_which_key_to_change(world, capsys):
    world.judge("--shares", "0.18,0.5")

    told = capsys.readouterr().out
    assert "not identified here" in told
    assert "reward a request, between" in told
    assert "    routing:\n      escalation_share: 0.18\n" in told


def test_few_feedbacks_are_said_to_be_few(world, tmp_path, capsys):
    """Thumbs of the feedback store are the rewards where none are given."""
    store = tmp_path / "feedback.db"
    with sqlite3.connect(store) as db:
        db.execute("CREATE TABLE feedback (tenant TEXT, request_id TEXT, thumb TEXT)")
        said = [(row["tenant"], row["request_id"], "up") for row in world.rows[:200]]
        db.executemany("INSERT INTO feedback VALUES (?, ?, ?)", said)
    db.close()

    told = ["--traffic", str(world.log), "--feedback", str(store)]
    code = main(["classifier", "calibrate", "--lanes", "chat,quality", *told])

    out = capsys.readouterr().out
    assert code == 0
    assert out.startswith("200 requests with a reward")
    assert "too few logs" in out


def test_kept_traces_are_read_as_logs_are(world, tmp_path, capsys):
    traces = [
        Trace(
            time=datetime(2026, 11, 1, 12, 0, 0, n, UTC),
            request_id=row["request_id"],
            tenant=row["tenant"],
            tier="standard",
            session=row["session"],
            lane=row["lane"],
            score=row["score"],
            propensity=row["propensity"],
            classifier=VERSION,
        )
        for n, row in enumerate(world.rows[:500])
    ]
    path = tmp_path / "traces.parquet"
    pq.write_table(pa.Table.from_pylist([x.row() for x in traces], SCHEMA), path)

    told = ["--traces", str(path), "--rewards", str(world.rewards), "--json"]
    main(["classifier", "calibrate", "--lanes", "chat,quality", *told])

    assert json.loads(capsys.readouterr().out)["policies"]["requests"] == 500


def test_a_log_without_rewards_has_no_candidates(world, tmp_path, capsys):
    empty = tmp_path / "rewards.jsonl"
    empty.write_text("")

    told = ["--traffic", str(world.log), "--rewards", str(empty)]
    code = main(["classifier", "calibrate", "--lanes", "chat,quality", *told])

    assert code == 0
    assert "no request has a score" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--traffic", "x", "--traces", "y", "--lanes", "a,b"], "--traffic and --traces"),
        (["--traffic", "x"], "--out DIR"),
        (["--traces", "x", "--out", "y"], "--out needs --traffic"),
        (["--traffic", "x", "--lanes", "a,b", "--feedback", "none"], "no feedback is kept"),
    ],
)
def test_what_is_missing_is_said(args, says, capsys):
    assert main(["classifier", "calibrate", *args]) == 1
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("args", [["--lanes", "chat"], ["--shares", "1.5"]])
def test_values_that_make_no_sense_are_usage_errors(args):
    with pytest.raises(SystemExit):
        main(["classifier", "calibrate", "--traffic", "x", *args])


@pytest.mark.parametrize(
    "wrong", ["{", '{"tenant": "a"}', '{"tenant": "a", "request_id": "r", "reward": 2}']
)
def test_a_reward_that_cannot_be_read_names_its_line(world, tmp_path, wrong, capsys):
    path = tmp_path / "rewards.jsonl"
    path.write_text(wrong)

    told = ["--traffic", str(world.log), "--rewards", str(path)]
    assert main(["classifier", "calibrate", "--lanes", "chat,quality", *told]) == 1
    assert "rewards.jsonl:1" in capsys.readouterr().err


def test_a_lane_that_no_request_went_to_is_told(world, capsys):
    """The names are from memory: with a typo nothing would be found, and nothing wrong."""
    told = ["--traffic", str(world.log), "--rewards", str(world.rewards)]

    assert main(["classifier", "calibrate", "--lanes", "chat,qualty", *told]) == 1
    assert "to 'qualty'; did you mean 'quality'?" in capsys.readouterr().err


def test_traces_that_are_not_there_or_cannot_be_read_are_told(world, tmp_path, capsys):
    def judge(path: Path) -> int:
        told = ["--traces", str(path), "--rewards", str(world.rewards)]
        return main(["classifier", "calibrate", "--lanes", "chat,quality", *told])

    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"{}")

    assert judge(tmp_path / "none") == 1
    assert "none: no such folder or file of traces" in capsys.readouterr().err
    assert judge(broken) == 0
    assert f"pointsman: {broken}: not read: " in capsys.readouterr().err
