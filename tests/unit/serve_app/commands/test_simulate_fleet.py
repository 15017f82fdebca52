"""`pointsman simulate fleet` and `replay`, on the shipped fleet and tenants file."""

import json

import pytest

from fleet.traffic.scenarios import SCENARIOS, load_scenario
from serve_app.cli import main
from serve_app.commands.client import CommandError
from serve_app.commands.fleet_spec import spec_of
from serve_app.config.settings import fleet_path, load_fleet, load_tenants, tenants_path

QUICK = ["--fleet", "rtx4090", "--minutes", "2"]


def shipped_spec(**more):
    return spec_of(load_fleet(fleet_path("rtx4090")), load_tenants(tenants_path()), **more)


def told(capsys, *words):
    status = main(["simulate", *words, "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_the_simulated_fleet_is_that_of_the_files():
    fleet, spec = load_fleet(fleet_path("rtx4090")), shipped_spec()

    assert spec.lanes.keys() == fleet.enabled_lanes.keys()
    assert (spec.lanes["chat"].slots, spec.ingresses) == (32, 2)
    assert spec.levels[0].share == fleet.routing.escalation_share
    assert spec.tiers["free"].tier.sheddable
    assert spec.tiers["paid"].ceilings.tokens_per_second == 80
    assert spec.slo.of("chat", "paid").ttft_p95_s == 0.8
    assert spec.token_cost("chat", 1_000_000, 0, 0) > 0


def test_a_lane_without_a_profile_says_how_to_give_one():
    with pytest.raises(CommandError, match="--profile chat=NAME"):
        spec_of(load_fleet(fleet_path("local")), load_tenants(tenants_path()))


def test_a_scenario_runs_and_tells_what_users_and_owner_see(capsys):
    status, report = told(capsys, "fleet", "--scenario", "saas", *QUICK, "--card-hour", "0.5")

    row = next(x for x in report["rows"] if (x["lane"], x["tier"]) == ("chat", "paid"))
    assert status == 0 and report["simulated"]
    assert row["codes"]["200"] > 100
    assert report["card_cost"] == pytest.approx(0.5 * sum(report["card_hours"].values()))
    assert report["token_cost"] > 0


def test_the_text_names_lanes_refusals_and_bill(capsys):
    main(["simulate", "fleet", "--scenario", "tenant-flood", *QUICK, "--replicas", "chat=2"])

    text = capsys.readouterr().out
    assert "chat: 2 to 2 replicas" in text
    assert "shed order: 0 violations" in text
    assert "bill: " in text


def test_yesterdays_log_is_sent_to_another_fleet(tmp_path, capsys):
    log = tmp_path / "requests-a.jsonl"
    line = {
        "time": "2026-03-01T10:00:05Z", "tenant": "acme", "tier": "paid", "reason": "default",
        "score": None, "code": "shed", "prompt_tokens": 800, "completion_tokens": 30,
        "duration_s": 1.0, "model": None, "background": None, "tool_outcomes": None,
    }  # fmt: skip
    log.write_text(json.dumps(line) + "\n")

    status, report = told(capsys, "replay", "--log", str(log), "--fleet", "rtx4090")

    assert status == 0
    assert report["by_tenant"] == {"acme": {"200": 1}}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["fleet", "--scenario", "rain"], "no scenario 'rain' (shipped: agents, "),
        (["fleet", "--scenario", "saas", "--replicas", "chat"], "say LANE=VALUE"),
        (["fleet", "--scenario", "saas", "--replicas", "chat=0"], "a number from 1 on"),
        (["fleet", "--scenario", "saas", "--profile", "chat=abacus"], "no profile 'abacus'"),
        (["fleet", "--scenario", "saas", "--minutes", "1"], "first 60 s are not counted"),
        (["replay", "--log", "nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(words, says, capsys):
    assert main(["simulate", *words]) != 0

    assert says in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_scenario_is_whole(path):
    scenario = load_scenario(str(path))

    assert scenario.name == path.stem
    assert scenario.sources(1)


@pytest.mark.parametrize(
    "words",
    [
        ("fleet", "--scenario", "saas", "--minutes", "0"),
        ("fleet", "--scenario", "saas", "--start-s", "-5"),
        ("replay", "--log", "any.jsonl", "--speed", "-1"),
        ("replay", "--log", "any.jsonl", "--card-hour", "nan"),
    ],
)
def test_times_and_prices_below_zero_are_refused(capsys, words):
    with pytest.raises(SystemExit, match="2"):
        main(["simulate", *words])
    assert "should be" in capsys.readouterr().err


def test_a_log_that_is_not_there_or_no_text_is_named(capsys, tmp_path):
    log = tmp_path / "requests.jsonl.gz"
    assert main(["simulate", "replay", "--log", str(log)]) == 1
    assert f"{log}: No such file" in capsys.readouterr().err
    log.write_bytes(b"\x1f\x8b\x08\x00")
    assert main(["simulate", "replay", "--log", str(log)]) == 1
    assert f"{log}: is no text in UTF-8" in capsys.readouterr().err


def test_a_lane_without_a_profile_is_as_fast_as_its_cards_data_sheet_says(capsys):
    words = ["fleet", "--scenario", "saas", "--minutes", "2"]
    status, report = told(capsys, *words, "--fleet", "rtx3090")
    assert status == 0 and "chat" in report["derived"]
    assert report["rows"]
    assert told(capsys, *words, "--fleet", "rtx4090")[1]["derived"] == []
