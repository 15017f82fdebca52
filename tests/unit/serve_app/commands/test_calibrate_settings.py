"""What a recommendation comes to in the fleet file, and classifiers judged on kept requests."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from classifier import DEFAULT_ARTIFACT, load_artifact
from classifier.artifact import save_artifact
from evals.off_policy.policies import Change
from evals.traces.parts import write_traces
from evals.traces.trace import Trace
from serve_app.cli import main
from serve_app.commands.calibrate.judging import SHADOW
from serve_app.commands.calibrate.settings import settings_of
from serve_app.commands.client import CommandError
from serve_app.config.fleet import FleetConfig
from serve_app.config.fleet_edit import set_routing
from serve_app.config.settings import fleet_path, home, load_fleet
from tests.unit.evals.off_policy.made_logs import made_log

VERSION = load_artifact(DEFAULT_ARTIFACT).version
COUNT = 4_000
TEXTS = ("Hello!", "Prove that there are infinitely many primes.", "What is 2 + 2?")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Kept requests, of which a larger share should go up, and rewards."""
    folder = tmp_path_factory.mktemp("kept")
    log, _, _ = made_log(COUNT, 1, epsilon=0.3, lift=0.5)
    begun = datetime(2026, 11, 1, tzinfo=UTC)
    traces = [
        Trace(
            time=begun + timedelta(seconds=n),
            request_id=f"r{n}",
            tenant="acme",
            tier="paid",
            session=f"s{n}",
            api="/v1/chat/completions",
            # Every fourth was too long to keep.
            body={} if n % 4 == 0 else {"messages": [{"role": "user", "content": TEXTS[n % 3]}]},
            lane="quality" if log.went_up[n] else "chat",
            score=float(log.score[n]),
            propensity=float(log.propensity[n]),
            classifier=VERSION,
        )
        for n in range(COUNT)
    ]
    write_traces(folder / "traces.parquet", traces)
    rewards = (
        json.dumps({"tenant": "acme", "request_id": f"r{n}", "reward": float(log.reward[n])})
        for n in range(COUNT)
    )
    (folder / "rewards.jsonl").write_text("\n".join(rewards))
    return folder


@pytest.fixture
def fleet(tmp_path) -> Path:
    path = tmp_path / "fleet.yaml"
    path.write_text(fleet_path("local").read_text())
    return path


def calibrate(store: Path, *more: str) -> int:
    told = ["--traces", str(store / "traces.parquet"), "--rewards", str(store / "rewards.jsonl")]
    words = ["classifier", "calibrate", "--lanes", "chat,quality", *told]
    return main([*words, "--shares", "0.18", *more])


def test_scores_of_another_classifier_are_told_and_the_fleets_own_is_the_default(
    store, fleet, tmp_path, capsys
):
    """With the shipped classifier's version nothing of another one's log is found."""
    artifact = load_artifact(DEFAULT_ARTIFACT)
    save_artifact(replace(artifact, version="mine"), tmp_path / "mine")
    set_routing(fleet, {"classifier": str(tmp_path / "mine")})

    assert calibrate(store, "--fleet", str(fleet)) == 0

    says = f"scores of other classifiers than mine: {COUNT:,} of {VERSION} (--artifact DIR)"
    assert says in capsys.readouterr().out


def test_what_is_recommended_is_written_where_it_is_asked_for(store, fleet, capsys):
    assert calibrate(store, "--fleet", str(fleet)) == 0
    assert f"for {fleet}:\n    routing:\n      escalation_share: 0.18\n" in capsys.readouterr().out
    assert load_fleet(fleet).routing.escalation_share == 0.03

    assert calibrate(store, "--fleet", str(fleet), "--write") == 0
    assert f"written to {fleet}:" in capsys.readouterr().out
    assert load_fleet(fleet).routing.escalation_share == 0.18


def test_a_fleet_that_cannot_be_changed_is_told_after_the_estimates(store, fleet, capsys):
    fleet.write_text(fleet.read_text().replace("complex: quality", "complex: null"))

    assert calibrate(store, "--fleet", str(fleet), "--write") == 1

    told = capsys.readouterr().out
    assert "reward a request, between" in told
    assert "not written: 'quality' is no lane that this fleet's scores lead to" in told


def test_nothing_is_written_where_nothing_is_recommended(store, fleet, capsys):
    before = fleet.read_text()

    assert calibrate(store, "--fleet", str(fleet), "--write", "--price", "1", "--json") == 0

    told = json.loads(capsys.readouterr().out)
    assert (told["policies"]["recommended"], told["settings"]["written"]) == (None, False)
    assert fleet.read_text() == before


def test_only_the_days_that_are_asked_for_count(store, fleet, capsys):
    """A start, during which the threshold moved, can be left out."""
    assert calibrate(store, "--fleet", str(fleet), "--since", "2026-11-02", "--json") == 0

    assert json.loads(capsys.readouterr().out)["policies"]["requests"] == 0


def test_another_classifier_scores_the_kept_texts_anew(store, fleet, capsys):
    """Those without a text go where they go now, so that it is judged on the others alone."""
    words = ["--classifier", str(DEFAULT_ARTIFACT), "--fleet", str(fleet), "--json"]

    assert calibrate(store, *words) == 0

    told = json.loads(capsys.readouterr().out)["policies"]
    assert told["rescored"] == {
        str(DEFAULT_ARTIFACT): {"version": VERSION, "requests": 3_000, "without": 1_000}
    }
    row = next(x for x in told["candidates"] if x["policy"] == str(DEFAULT_ARTIFACT))
    assert 0 < row["changed"] < 0.5
    assert not row["identified"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--traffic", "x", "--lanes", "a,b", "--classifier", "y"], "it needs traces"),
        (["--traffic", "x", "--out", "y", "--write"], "--write needs --lanes"),
        (["--traffic", "x", "--lanes", "a,b", "--since", "2026-11-01"], "are of traces"),
        (["--lanes", "a,b", "--rewards", "none"], "none"),
    ],
)
def test_what_does_not_go_together_is_said(args, says, capsys):
    assert main(["classifier", "calibrate", *args]) == 1
    assert says in capsys.readouterr().err


# -- what is set ----------------------------------------------------------------


def with_routing(**values) -> FleetConfig:
    fleet = load_fleet(fleet_path("local"))
    return fleet.model_copy(update={"routing": fleet.routing.model_copy(update=values)})


UP = Change(share=0.18, threshold=0.62)


@pytest.mark.parametrize(
    ("change", "routing", "strong", "expected"),
    [
        (UP, {}, "quality", {"escalation_share": 0.18}),
        (UP, {"escalation_threshold": 0.7}, "quality", {"escalation_threshold": 0.62}),
        (UP, {"frontier": "chat", "frontier_share": 0.01}, "quality", {"escalation_share": 0.17}),
        (UP, {"frontier": "chat", "frontier_share": 0.01}, "chat", {"frontier_share": 0.18}),
        (
            Change(classifier=SHADOW),
            {"shadow_classifier": "mine"},
            "quality",
            {"classifier": "mine", "shadow_classifier": None},
        ),
        (Change(classifier="/a/b"), {}, "quality", {"classifier": "/a/b"}),
    ],
)
def test_a_change_is_the_keys_that_this_fleet_has_for_it(change, routing, strong, expected):
    found = settings_of(change, with_routing(**routing), strong, None)

    assert (found.routing, found.tenants) == (expected, {})
    assert found.fleet_lines()[0] == "routing:"


def test_a_budget_is_a_tiers_and_an_artefact_goes_with_it():
    found = settings_of(Change(budget=0.05), with_routing(), "quality", home() / "artifacts" / "x")

    assert found.fleet_lines() == ["routing:", "  classifier: artifacts/x"]
    assert found.tenants_lines() == ["escalation_budget: 0.05"]
    assert settings_of(None, with_routing(), "quality", None).fleet_lines() == []


@pytest.mark.parametrize(
    ("change", "routing", "says"),
    [
        (UP, {"complex": None}, "no lane that this fleet's scores lead to"),
        (UP, {"frontier": "chat", "frontier_share": 0.2}, "less than the lanes over"),
        (Change(classifier=SHADOW), {}, "this fleet has none"),
    ],
)
def test_a_fleet_without_the_setting_is_told(change, routing, says):
    with pytest.raises(CommandError, match=says):
        settings_of(change, with_routing(**routing), "quality", None)
