"""`pointsman simulate fleet` and `replay`, on the shipped fleet and tenants file."""

import json

import pytest

from fleet.cards.table import cards
from fleet.traffic.scenarios import SCENARIOS, load_scenario
from serve_app.cli import main
from serve_app.commands.client import CommandError
from serve_app.commands.fleet_spec import spec_of
from serve_app.config.lane import SimulatedEngine
from serve_app.config.settings import fleet_path, load_fleet, load_tenants, tenants_path
from simulator.model.profile import SleepCosts

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


def test_lanes_that_share_a_card_are_simulated_by_turns(capsys):
    words = ["fleet", "--scenario", "two-models", "--minutes", "8"]
    status, report = told(capsys, *words)

    turns = report["turns"]
    assert status == 0 and turns.keys() == {"chat", "coder"}
    assert turns["coder"]["waited"] > 0 and turns["coder"]["kept_out"] == 0
    assert report["card_hours"] == {"pool-a": pytest.approx(8 / 60)}
    assert report["derived"] == ["chat", "coder"]
    main(["simulate", *words])
    text = capsys.readouterr().out
    assert "coder: woken " in text and "pool-a: cards that lanes share" in text


def test_wakings_that_fail_are_told(capsys):
    """Minutes 15 to 20 of the scenario, in which the coder's engine does not load."""
    words = ["fleet", "--scenario", "two-models-faults", "--minutes", "21"]
    assert main(["simulate", *words]) == 0
    text = capsys.readouterr().out
    assert " failed), has a card of pool-a" in text and " refused for it" in text


def test_the_days_before_wake_a_lane_before_it_is_asked(capsys):
    words = ["fleet", "--scenario", "two-models-by-day"]
    turns = told(capsys, *words)[1]["turns"]
    # Without `before` as many wait as it is woken for.
    assert turns["coder"]["waited"] <= 2 < turns["coder"]["wakings"]


def test_an_incident_that_a_lane_cannot_have_is_told_in_one_line(tmp_path, capsys):
    text = (SCENARIOS / "two-models-faults.yaml").read_text().replace("../fleets/", "")
    path = tmp_path / "wrong.yaml"
    path.write_text(text.replace("kind: wake_hangs", "kind: lose"))
    fleet = ["--fleet", "one_card_two_models", "--card", "rtx4090"]
    assert main(["simulate", "fleet", "--scenario", str(path), *fleet]) == 1
    assert "lane 'chat' shares its cards: no lose is simulated there" in capsys.readouterr().err


def test_a_log_is_replayed_on_lanes_that_share_a_card(tmp_path, capsys):
    line = {
        "tenant": "acme", "tier": "paid", "reason": "pinned", "score": None, "code": "200",
        "prompt_tokens": 800, "completion_tokens": 30, "duration_s": 1.0, "background": None,
        "tool_outcomes": None,
    }  # fmt: skip
    models = ("Qwen/Qwen3-14B", "Qwen/Qwen3-Coder-30B-A3B-Instruct")
    lines = [
        line | {"time": f"2026-03-01T10:{minute:02}:05Z", "model": models[minute % 2]}
        for minute in range(8)
    ]
    log = tmp_path / "requests-a.jsonl"
    log.write_text("".join(json.dumps(one) + "\n" for one in lines))
    fleet = ["--fleet", "one_card_two_models", "--card", "rtx3090"]

    status, report = told(capsys, "replay", "--log", str(log), *fleet)

    assert status == 0 and report["by_tenant"] == {"acme": {"200": 8}}
    assert {x: row["passed"] for x, row in report["turns"].items()} == {"chat": 4, "coder": 4}


def test_what_a_swap_costs_is_the_lanes_own_or_goes_by_its_weights():
    fleet, tenants = load_fleet(fleet_path("one_card_two_models")), load_tenants(tenants_path())
    own = SleepCosts(wake_s=7.0)
    chat = fleet.lanes["chat"].model_copy(update={"simulated": SimulatedEngine(sleep=own)})
    told = fleet.model_copy(update={"lanes": fleet.lanes | {"chat": chat}})

    spec = spec_of(told, tenants, card=cards()["rtx3090"], start_s=50.0)

    chat, coder = spec.pools["pool-a"].lanes
    assert chat.costs == own
    assert coder.costs.weights_gib == pytest.approx(16.8, abs=0.1)
    assert coder.costs.wake_s == pytest.approx(1.8, abs=0.1)
    assert (coder.costs.load_s, coder.lane.can_sleep, coder.card) == (50.0, True, "0")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["fleet", "--scenario", "rain"], "no scenario 'rain' (shipped: agents, "),
        (["fleet", "--scenario", "saas", "--replicas", "chat"], "say LANE=VALUE"),
        (["fleet", "--scenario", "saas", "--replicas", "chat=0"], "a number from 1 on"),
        (["fleet", "--scenario", "saas", "--profile", "chat=abacus"], "no profile 'abacus'"),
        (["fleet", "--scenario", "saas", "--minutes", "1"], "first 60 s are not counted"),
        (["fleet", "--scenario", "saas", "--card", "rtx3091"], "did you mean 'rtx3090'"),
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
    assert told(capsys, *words, "--fleet", "rtx4090")[1]["derived"] == ["free"]
