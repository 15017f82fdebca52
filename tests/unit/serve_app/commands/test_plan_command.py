"""`pointsman plan`: the answer, its exit status, the fleet that it writes."""

import json

import pytest
import yaml

from serve_app.cli import main
from serve_app.commands import plan as command
from serve_app.config.settings import load_fleet
from serve_app.doctor.check import Result
from serve_app.doctor.fit.checks import fit_checks
from simulator.virtual_time.workload import load_workload


def told(capsys, *arguments, status=0):
    assert main(["plan", *arguments]) == status
    return capsys.readouterr().out


def data(capsys, *arguments, status=0):
    return json.loads(told(capsys, "--json", *arguments, status=status))


def test_the_answer_comes_first_and_is_short(capsys):
    lines = told(capsys, "--daily", "400", "--turns", "6", "--cards", "rtx3090:2").splitlines()
    assert lines[0].startswith("answer   yes: 2 rtx3090 hold it, up to ")
    assert len(lines) <= 12
    names = {line.split(" ")[0] for line in lines}
    assert {"answer", "users", "chat", "quality", "bill", "next", "speed"} <= names


def test_too_many_users_for_the_cards_says_how_many_they_are_enough_for(capsys):
    cards = ("--cards", "rtx3090:2", "--complex-share", "0")
    found = data(capsys, "--active", "100", *cards)
    assert not found["holds"]
    assert found["cards"] == 2 + found["short"]["rtx3090"]
    share = found["times_the_users"]
    assert data(capsys, "--active", str(100 * share * 0.99), *cards)["holds"]
    assert not data(capsys, "--active", str(100 * share * 1.02), *cards)["holds"]
    assert any(step.startswith("get ") for step in found["next"])
    assert any("instead: " in step for step in found["next"])


def test_a_lane_that_the_cards_do_not_hold_may_be_left_out(capsys):
    """A 14B on a 3090 reads a history that moves to it too slowly."""
    found = data(capsys, "--active", "5", "--cards", "rtx3090:2")
    assert found["short"] == {"rtx3090": 1}
    assert any("--complex-share 0): cards 1, at hand" in x for x in found["next"])


def test_what_is_planned_is_what_the_simulation_keeps(capsys):
    found = data(capsys, "--active", "40", "--cards", "rtx4090:2", "--check", "--minutes", "4")
    busiest = [x for x in found["check"] if x["when"] == "busiest hour"]
    assert {x["lane"] for x in busiest} == {"chat", "quality"}
    assert [x["broken"] for x in busiest] == [[], []]


def test_a_promise_that_breaks_in_a_burst_ends_with_1(capsys):
    options = ("--active", "40", "--burst", "4", "--cards", "rtx4090:2", "--check")
    found = data(capsys, *options, "--minutes", "3", status=1)
    (chat,) = [x for x in found["check"] if x["lane"] == "chat" and x["when"] == "burst"]
    assert chat["broken"] == ["ttft_p95_s", "first_30_p95_s"]
    assert chat["seen"]["ttft_p95_s"] > 0.8
    assert "BROKEN (ttft_p95_s, first" in told(capsys, *options, "--minutes", "1", status=1)


FLEETS = {
    "4090": ("--cards", "rtx4090:4"),
    "3090": ("--cards", "rtx3090:4", "--active", "20"),
    "agents": ("--workload", "agents", "--cards", "h100:1", "--own", "36"),
    "scaled": ("--cards", "h100:9", "--active", "2000"),
    "free tier": ("--cards", "rtx4090:9", "--free-ratio", "0.5", "--tenants", "300"),
}


@pytest.mark.parametrize("options", FLEETS.values(), ids=FLEETS)
def test_a_written_fleet_is_one_and_fits_its_cards(options, tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    told(capsys, *options, "--write", str(path))
    fleet = load_fleet(path)
    verdicts = [x.run() for x in fit_checks(fleet, {})]
    assert {x.check for x in verdicts} == {f"fit {name}" for name in fleet.lanes}
    assert {x.result for x in verdicts} == {Result.OK}, [x.detail for x in verdicts]


@pytest.mark.slow
@pytest.mark.parametrize("options", FLEETS.values(), ids=FLEETS)
def test_doctor_passes_the_fleet_that_is_written(options, tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    told(capsys, *options, "--write", str(path))
    # Not its exit status: a port of this machine may be taken.
    main(["doctor", "--config", str(path), "--json"])
    rows = json.loads(capsys.readouterr().out)
    mine = [x for x in rows if x["section"] in ("files", "fleet")]
    assert {x["check"] for x in mine} >= {"fleet", "engine arguments", "lane flags"}
    assert [x for x in mine if x["result"] == "failure"] == []
    warned = {x["check"] for x in mine if x["result"] == "warning"}
    # A plan cannot know the commit of a model's repository, and the tenants file is the operator's.
    assert warned <= {"revisions", "tiers' lanes"}
    for row in (x for x in mine if x["check"] == "tiers' lanes" and x["result"] == "warning"):
        one, several = "two_cards_free_tier.yaml", "lanes.free: a smaller model"
        assert (one if row["fix"].startswith("one card ") else several) in row["fix"]


def test_the_written_fleet_says_what_the_free_tier_and_many_tenants_need(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    told(capsys, "--cards", "rtx4090:9", "--free-ratio", "0.5", "--tenants", "300",
         "--write", str(path))  # fmt: skip
    text = path.read_text()
    assert "tiers.free" in text
    fleet = yaml.safe_load(text)
    assert fleet["name"] == "mine"
    assert fleet["lanes"]["free"]["engine_args"]["num_gpu_blocks_override"] > 10_000
    ids = [lane["model_id"] for lane in fleet["lanes"].values()]
    assert len(set(ids)) == len(ids)


def test_a_file_that_is_there_is_written_over_by_force_alone(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text("# edited by hand\n")
    options = ("--cards", "rtx4090:4", "--write", str(path))
    with pytest.raises(SystemExit, match="2"):
        main(["plan", *options])
    said = capsys.readouterr()
    assert f"{path} is there already" in said.err
    assert not said.out
    assert path.read_text() == "# edited by hand\n"
    told(capsys, *options, "--force")
    assert load_fleet(path).name == "mine"


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ((), "--cards KIND:COUNT names"),
        (("--cards", "rtx5080"), "rtx5080 is none of rtx3090"),
        (("--cards", "rtx4090:two"), "rtx4090:2, say"),
        (("--cards", "rtx4090", "--daily", "5", "--active", "5"), "give one of"),
        (("--cards", "rtx4090", "--daily", "0"), "daily: "),
        (("--cards", "rtx4090", "--turns", "0"), "turns: "),
        (("--cards", "rtx4090", "--workload", "sas"), "saas"),
        (("--cards", "rtx4090", "--profile", "chat=nothing"), "llama-3.1-8b"),
        (("--cards", "rtx4090", "--model", "chta=x"), "chat, quality, agent, free"),
        (("--cards", "rtx4090", "--model", "chat=nobody/nothing"), "hf download"),
        (("--cards", "rtx4090", "--first-30-p95-s", "0.05"), "loosen it"),
        (("--cards", "l4", "--system-tokens", "4000000"), "tokens of KV"),
    ],
)
def test_what_cannot_be_planned_says_why(options, fault, capsys):
    assert main(["plan", *options]) == 1
    said = capsys.readouterr()
    assert fault in said.err
    assert not said.out
    assert said.err.count("\n") == 1


def test_a_promise_of_0_is_none(capsys):
    strict = data(capsys, "--cards", "rtx4090:9")
    loose = data(capsys, "--cards", "rtx4090:9", "--first-30-p95-s", "0")
    assert strict["lanes"][0]["walls"]["decode"] < loose["lanes"][0]["walls"]["decode"]


def test_own_cards_and_a_measured_speed(tmp_path, capsys):
    table = tmp_path / "cards.yaml"
    table.write_text(
        "mine: {kind: GeForce-RTX-4090, memory_mib: 24564, capability: [8, 9], "
        "bandwidth_gb_per_s: 2016, tflops_16bit: 330, tflops_fp8: 660, power_w: 450, "
        "pcie_gb_per_s: 32, price_usd: 3600, rent_usd_per_h: 1}\n"
    )
    options = ("--card-file", str(table), "--cards", "mine:1,rtx4090:1")
    mine = data(capsys, *options, "--own", "36", "--kwh", "0")
    assert {lane["card"] for lane in mine["lanes"]} == {"mine", "rtx4090"}
    assert mine["bill_usd_per_month"] == pytest.approx((3600 + 1599) / 36)
    measured = data(capsys, "--cards", "rtx4090:9", "--profile", "chat=llama-3.1-8b-fp8-rtx4090")
    assert [lane["speed"] for lane in measured["lanes"]] == ["measured", "data sheet"]
    assert measured["lanes"][0]["sessions"] == 38


def test_a_workload_of_one_s_own(tmp_path, capsys):
    own = load_workload("saas").model_dump(exclude_none=True) | {"name": "own", "users": None}
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(own))
    assert main(["plan", "--workload", str(path), "--cards", "rtx4090"]) == 1
    assert "give one of monthly, daily, active, turns_per_s" in capsys.readouterr().err
    found = data(capsys, "--workload", str(path), "--cards", "rtx4090:9", "--monthly", "1000")
    assert found["lanes"][0]["demand"]["turns_a_day"] == pytest.approx(60 * 6.4 * 0.97)


def test_the_page_is_written_where_it_is_asked_for(tmp_path, capsys):
    path = tmp_path / "plan.html"
    told(capsys, "--cards", "rtx4090:9", "--page", str(path))
    assert path.read_text().startswith("<!doctype html>")
    assert "/*" not in path.read_text().partition("<main>")[0]


def test_hosted_prices_of_the_package_are_the_shipped_ones():
    pytest.importorskip("genai_prices")
    found = command._hosted()
    for model, price in command.HOSTED.items():
        assert found[model].blended() == pytest.approx(price.blended(), rel=0.01)


@pytest.mark.parametrize("option", ["--own=0", "--kwh=-1", "--rent-per-month=-3", "--minutes=0"])
def test_an_option_that_cannot_be_is_refused_before_anything_is_planned(capsys, option):
    with pytest.raises(SystemExit, match="2"):
        main(["plan", "--cards", "rtx4090:2", option])
    assert f"argument {option.split('=')[0]}: should be" in capsys.readouterr().err


def test_a_file_that_is_not_of_the_form_is_named(capsys, tmp_path):
    cards = tmp_path / "cards.yaml"
    cards.write_text("mine: 3\n")
    assert main(["plan", "--cards", "rtx4090:2", "--card-file", str(cards)]) == 1
    assert f"{cards}: mine: " in capsys.readouterr().err
    assert main(["plan", "--cards", "rtx4090:2", "--model", f"chat={tmp_path}"]) == 1
    assert f"{tmp_path}: there is no config.json in it" in capsys.readouterr().err


def test_cards_of_a_kind_that_has_to_be_bought_are_one_number(capsys):
    lines = told(capsys, "--daily", "400", "--cards", "rtx4090").splitlines()
    assert lines[0] == "answer   2 cards (2 rtx4090)"
