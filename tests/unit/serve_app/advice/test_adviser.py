"""The adviser of an ingress replica: from texts to rows, over restarts, beside others."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from evals.replay.history import FILE_NAME, STALE_S, Day
from router.advice.table import TRIGGERS
from serve_app.advice import adviser as module
from serve_app.advice.replays import replay_signals
from serve_app.advice.usage import usage_signals
from serve_app.advice.view import AdviceView
from serve_app.cli import build_parser
from serve_app.commands.advise import _advise
from serve_app.config.fleet import FleetConfig
from serve_app.config.prices import PricesConfig
from serve_app.tenancy.store import Counts, Slot
from tests.unit.serve_app.advice.conftest import BEGIN
from tests.unit.serve_app.advice.texts import text
from tests.unit.serve_app.conftest import FLEET

FULL = text(running=20, kv=0.95)
CALM = text(running=2, kv=0.2)


@pytest.fixture(autouse=True)
def no_other_process(monkeypatch):
    asked = []

    async def simulated(jobs):
        asked.extend(jobs)
        return [{"simulated": True, "says": f"better by {x['change']}"} for x in jobs]

    monkeypatch.setattr(module, "run_elsewhere", simulated)
    return asked


async def test_a_full_cache_fires_after_a_minute_with_its_remedy(watch):
    watched = watch()

    await watched.see(CALM, *[FULL] * 5)

    row = watched.row("kv_cache")
    assert row["state"] == "firing"
    assert row["remedy"].startswith("lanes.chat.engine_args.max_num_seqs: 256 -> 192")
    assert watched.view.triggers_firing(alarm=False) == ["kv_cache"]
    assert row in watched.view.shown


async def test_its_effect_is_simulated_once_and_elsewhere(watch, no_other_process):
    watched = watch()
    watched.traffic = {"chat": [[BEGIN, 100, 0, 10, 1, 1, 0.1]]}

    await watched.see(CALM, *[FULL] * 8)

    assert watched.row("kv_cache")["expected"]["says"] == "better by fewer sequences at once"
    assert [x["key"] for x in no_other_process] == [["kv_cache", "chat"]]
    assert no_other_process[0]["requests"] == watched.traffic["chat"]


async def test_a_restart_in_between_changes_nothing(watch):
    first = watch()
    await first.see(CALM, *[FULL] * 6)
    before = first.row("kv_cache")
    first.adviser.close()

    second = watch()
    second.now = first.now
    # The first text of a process says nothing yet of what counters grew by.
    await second.see(FULL, FULL)

    after = second.row("kv_cache")
    assert after["state"] == "firing"
    assert after["since"] == before["since"]
    assert after["expected"] == before["expected"]


async def test_of_two_ingress_replicas_one_writes_and_the_other_tells_the_same(watch):
    one, two = watch(), watch()
    await one.see(CALM, *[FULL] * 5)
    two.now = one.now

    await two.see(CALM)

    assert (one.adviser.is_writer, two.adviser.is_writer) == (True, False)
    assert two.adviser.rows == json.loads(json.dumps(one.adviser.rows))
    one.adviser.close()
    await two.see(FULL, FULL)
    assert two.adviser.is_writer
    assert two.row("kv_cache")["state"] == "firing"


async def test_a_disk_that_fails_is_told_once_and_outlived(watch, monkeypatch, caplog):
    watched = watch()
    await watched.see(CALM)
    monkeypatch.setattr(module.History, "add", _full_disk)
    await watched.see(FULL, FULL)
    monkeypatch.undo()
    await watched.see(FULL)

    assert caplog.text.count("no point could be taken") == 1
    assert watched.adviser.at == watched.now


def _full_disk(self, at, values):
    raise OSError(28, "No space left on device")


async def test_gauges_are_of_every_trigger_and_the_alarm_counts(watch, world):
    watched = watch()
    await watched.see(CALM, *[FULL] * 5)

    watched.view.set_gauges(world.metrics.trigger_firing, alarm=True)

    told = {x.name: world.count("pointsman_trigger_firing", trigger=x.name) for x in TRIGGERS}
    assert {name for name, value in told.items() if value} == {"kv_cache", "escalation_share"}
    assert watched.view.triggers_firing(alarm=True) == ["escalation_share", "kv_cache"]


async def test_status_and_the_operators_route_tell_it(watch, world):
    watched = watch()
    await watched.see(CALM, *[FULL] * 8)
    world.control.advice = watched.view

    async with world.client(key="root") as client:
        status = (await client.get("/status")).json()
        told = (await client.get("/admin/advice")).json()
    async with world.client(key="acme") as client:
        refused = await client.get("/admin/advice")
        own = (await client.get("/status")).json()

    assert status["triggers_firing"] == ["kv_cache"]
    assert status["advice"][0]["trigger"] == "kv_cache"
    assert len(told["rows"]) > len(status["advice"])
    assert refused.status_code == 403
    assert "advice" not in own


async def test_without_an_adviser_only_the_alarm_is_told(world):
    view = AdviceView()

    view.set_gauges(world.metrics.trigger_firing, alarm=True)

    assert view.shown == []
    assert view.triggers_firing(alarm=True) == ["escalation_share"]
    assert view.told()["enabled"] is False
    assert world.count("pointsman_trigger_firing", trigger="escalation_share") == 1


def used(*days):
    return {Slot(day, "acme", "chat"): Counts(n, 10**8 * n, 0, 0) for day, n in days}


def test_a_month_is_reckoned_from_three_days_on():
    signals = usage_signals(
        used(("2026-03-01", 1), ("2026-03-03", 2), ("2026-03-04", 5)), "2026-03-04", 2
    )

    assert signals["tokens_a_month", "fleet"] == (8e8 / 4 * 30 / 2, 1)
    assert signals["tenant_requests_a_day", "fleet"] == (5, 1)
    assert usage_signals(used(("2026-03-04", 1)), "2026-03-05", 1) == {}


async def test_usage_comes_from_the_tenancy_store(watch, world):
    watched = watch()
    today = datetime.fromtimestamp(BEGIN, UTC).date()
    yesterday = (today - timedelta(days=1)).isoformat()
    batch = module_batch(yesterday)
    world.tenancy.record("w", batch)

    await watched.see(CALM, *[CALM] * 50)

    row = watched.row("own_kv_pool", "fleet")
    assert row["state"] == "firing"
    assert row["value"] == 120_000


def module_batch(day):
    from serve_app.tenancy.store import Batch, Position

    return Batch(1, Position(), {Slot(day, "acme", "chat"): Counts(120_000, 1, 0, 1)})


# -- the command on the file ------------------------------------------------------------


def advise(path, *more):
    return build_parser().parse_args(["advise", "--history", str(path), *more])


async def test_the_command_reads_the_file_alone(watch, tmp_path, capsys):
    watched = watch()
    await watched.see(CALM, *[FULL] * 5)
    watched.adviser.close()

    status = _advise(advise(tmp_path / "advice.db"))

    told = capsys.readouterr().out
    assert status == 1
    assert "FIRING kv_cache [chat] now" in told
    assert "max_num_seqs: 256 -> 192" in told
    assert "not simulated: no profile fits" in told
    assert "1 fire" in told


async def test_calm_hours_end_with_0_and_all_of_it_can_be_seen(watch, tmp_path, capsys):
    watched = watch()
    await watched.see(*[CALM] * 7)
    watched.adviser.close()

    assert _advise(advise(tmp_path / "advice.db", "--all", "--no-simulation")) == 0
    assert "CLEAR kv_cache [chat]" in capsys.readouterr().out
    assert _advise(advise(tmp_path / "advice.db", "--json")) == 0
    assert json.loads(capsys.readouterr().out)["at"] == watched.now


async def test_a_window_of_ones_own_is_judged(watch, tmp_path, capsys):
    watched = watch()
    await watched.see(CALM, *[CALM] * 12, *[FULL] * 3)
    watched.adviser.close()

    assert _advise(advise(tmp_path / "advice.db", "--window", "3m")) == 0
    assert _advise(advise(tmp_path / "advice.db", "--window", "45s")) == 1
    capsys.readouterr()


@pytest.mark.parametrize("what", ["missing", "empty", "damaged"])
def test_a_file_that_says_nothing_is_told_as_such(tmp_path, what, capsys):
    from serve_app.cli import main

    path = tmp_path / "advice.db"
    if what != "missing":
        path.write_bytes(b"" if what == "empty" else b"no history " * 999)

    assert main(["advise", "--history", str(path)]) == 1
    assert "advice.db" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["5", "0m", "-3m", "3w", "m"])
def test_a_window_that_is_no_time_is_refused(given, capsys):
    with pytest.raises(SystemExit):
        advise("x", f"--window={given}")
    assert "is no time" in capsys.readouterr().err


# -- configuration --------------------------------------------------------------------------


def test_limits_and_triggers_that_are_off_are_the_fleet_files(watch, world):
    from serve_app.advice.judging import triggers_of

    fleet = FleetConfig.model_validate(
        {**FLEET, "advice": {"limits": {"waiting": 8}, "off": ["kv_cache"]}}
    )

    found = {x.name: x for x in triggers_of(fleet.advice)}

    assert (found["waiting"].limit, found["waiting"].clear) == (8, 4)
    assert "kv_cache" not in found


async def test_a_card_costs_what_the_fleet_file_says(watch, world, tmp_path, capsys):
    """Also for the command, which has the history alone."""
    policies = world.state.policies
    fleet = policies.fleet.model_copy(update={"prices": PricesConfig(card=650, currency="EUR")})
    world.state.apply(replace(policies, fleet=fleet))
    watched = watch()
    await watched.see(CALM, *[FULL] * 5)
    watched.adviser.close()

    _advise(advise(tmp_path / "advice.db", "--json", "--no-simulation"))

    told = {row["price"] for row in watched.adviser.rows}
    assert "+650 EUR a month" in told and not any("USD" in x for x in told)
    assert {row["price"] for row in json.loads(capsys.readouterr().out)["rows"]} == told


@pytest.mark.parametrize("given", [{"off": ["kv_cash"]}, {"limits": {"waitin": 2}}])
def test_a_trigger_that_is_none_is_refused_with_the_nearest(given):
    with pytest.raises(ValueError, match="no trigger"):
        FleetConfig.model_validate({**FLEET, "advice": given})


def test_a_limit_of_nothing_is_refused():
    with pytest.raises(ValueError, match="over 0"):
        FleetConfig.model_validate({**FLEET, "advice": {"limits": {"waiting": 0}}})


async def test_the_last_replay_against_gold_feeds_tool_f1_until_it_is_stale(
    watch, tmp_path, monkeypatch
):
    """Two days of a bad F1 fire; a replay that nobody runs any more says nothing."""
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path))
    day = Day(BEGIN, "2023-11-14", "chat", "gold", calls_wanted=50, selection_f1=0.8)
    (tmp_path / FILE_NAME).write_text(day.line())
    assert replay_signals(["chat", "quality"], BEGIN + STALE_S) == {("tool_f1", "chat"): (0.8, 1.0)}
    assert replay_signals(["chat"], BEGIN + STALE_S + 1) == {}
    watched = watch()

    await watched.see(CALM, CALM, CALM)

    _, values = watched.adviser._history.points(15, BEGIN, BEGIN + 60)[-1]
    assert values["tool_f1", "chat"] == (0.8, 1.0)


def test_a_history_that_cannot_be_read_stops_no_other_signal(tmp_path, monkeypatch):
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path))
    (tmp_path / FILE_NAME).mkdir()

    assert replay_signals(["chat"], BEGIN) == {}
