"""From counts of requests to what has drifted, on the history's points."""

import sqlite3
from random import Random

import pytest

from router.advice.table import Subject
from router.advice.trigger import HOUR, Scope
from serve_app.advice.drifting import MOST_TENANTS, DriftWatch, stream_values
from serve_app.advice.history import History
from serve_app.cli import main
from serve_app.config.advice import AdviceConfig
from serve_app.records.streams import ALL
from tests.unit.serve_app.advice.conftest import BEGIN
from tests.unit.serve_app.advice.texts import text

CHAT = Subject("chat", frozenset({Scope.EACH}), {"drifted": "nothing so far"})


@pytest.fixture
def history(tmp_path):
    kept = History(tmp_path / "advice.db", AdviceConfig())
    yield kept
    kept.close()


def hours(history, count, chance, seed=1):
    """Keep hours of one tenant's thumbs, good by the chance of the hour."""
    random = Random(seed)
    for hour in range(count):
        good = sum(random.random() < chance(hour) for _ in range(50))
        points = {("drift_thumbs", "chat/acme"): (float(good), 50.0)}
        # The point on the hour closes it.
        end = BEGIN + (hour + 1) * HOUR
        history.add(end - 60, points)
        history.add(end, {("requests", "chat"): (1.0, 1.0)})
    return BEGIN + count * HOUR


def test_a_tenants_worse_thumbs_are_told_with_their_lane_and_time(history, tmp_path):
    """And by who begins anew on the same history."""
    now = hours(history, 240, lambda hour: 0.9 if hour < 190 else 0.6)
    watch = DriftWatch(history, tmp_path / "none.db")

    watch.judge(now)

    strength, _ = watch.taken()["drift", "chat"]
    told = watch.told(CHAT).facts["drifted"]
    assert strength > 1
    assert told.startswith("thumbs up of acme on 'chat' went from 0.897 to 0.6")
    assert watch.told(Subject("quality", frozenset(), {})).facts == {}


def test_every_tenant_that_drifted_is_named(history, tmp_path):
    """The clearest first; those that did not are left out, and so are more than can be read."""
    tenants = {"a": 0.4, "b": 0.2, "c": 0.9, "d": 0.5, "e": 0.45}
    random = Random(2)
    for hour in range(240):
        points = {}
        for tenant, later in tenants.items():
            chance = 0.9 if hour < 190 else later
            good = sum(random.random() < chance for _ in range(50))
            points["drift_thumbs", f"chat/{tenant}"] = float(good), 50.0
        end = BEGIN + (hour + 1) * HOUR
        history.add(end - 60, points)
        history.add(end, {("requests", "chat"): (1.0, 1.0)})
    watch = DriftWatch(history, tmp_path / "none.db")

    watch.judge(BEGIN + 240 * HOUR)

    told = watch.told(CHAT).facts["drifted"].split("; ")
    assert len({x.split()[3] for x in told[:3]} & {"a", "b", "d", "e"}) == 3
    assert told[3:] == ["and 1 more streams of it"]


def test_what_is_as_ever_is_told_as_little_of_an_alarm(history, tmp_path):
    now = hours(history, 120, lambda _: 0.9)
    watch = DriftWatch(history, tmp_path / "none.db")

    watch.judge(now)

    assert watch.taken()["drift", "chat"][0] < 1


def test_counts_of_all_ingress_replicas_become_points_once(history, tmp_path):
    watch = DriftWatch(history, tmp_path / "none.db")
    one = {"chat": {ALL: (10, 1.0, 4, 3), "acme": (10, 1.0, 4, 3)}}
    two = {"quality": {ALL: (5, 4.0, 0, 0), "acme": (5, 4.0, 0, 0)}}

    watch.count([one, one, two, TimeoutError("late")], ["quality"], BEGIN)

    assert watch.taken() == {
        ("drift_score", f"chat/{ALL}"): (2.0, 20.0),
        ("drift_score", "chat/acme"): (2.0, 20.0),
        ("drift_score", f"quality/{ALL}"): (4.0, 5.0),
        ("drift_score", "quality/acme"): (4.0, 5.0),
        ("drift_calls", f"chat/{ALL}"): (6.0, 8.0),
        ("drift_calls", "chat/acme"): (6.0, 8.0),
        ("drift_share", f"quality/{ALL}"): (5.0, 25.0),
        ("drift_share", "quality/acme"): (5.0, 25.0),
    }
    assert watch.taken() == {}


def test_only_the_largest_tenants_have_streams_and_keep_them(history, tmp_path):
    """A tenant that is larger tomorrow does not push one out, which would look like a drift."""
    watch = DriftWatch(history, tmp_path / "none.db")
    first = {"chat": {f"t{n}": (100 - n, 1.0, 0, 0) for n in range(20)}}
    later = {"chat": {"new": (900, 1.0, 0, 0), "t0": (1, 1.0, 0, 0), "t19": (5, 1.0, 0, 0)}}

    watch.count([first], [], BEGIN)
    names = {name for _, name in watch.taken()}
    DriftWatch(history, tmp_path / "none.db").count([], [], BEGIN)
    watch.count([later], [], BEGIN + 300)

    assert names == {f"chat/t{n}" for n in range(MOST_TENANTS)}
    assert {name for _, name in watch.taken()} == {"chat/t0"}


def test_thumbs_since_the_last_time_are_counted(history, tmp_path):
    path = tmp_path / "feedback.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE feedback (tenant TEXT, lane TEXT, at REAL, thumb TEXT)")
        rows = [("acme", BEGIN + 1, "up"), ("acme", BEGIN + 2, "down"), ("else", BEGIN - 1, "up")]
        rows += [("acme", BEGIN + 3, None), ("else", BEGIN + 4, "up")]
        db.executemany("INSERT INTO feedback VALUES (?, 'chat', ?, ?)", rows)
    db.close()
    watch = DriftWatch(history, path)

    watch.count([{"chat": {"acme": (1, 0.1, 0, 0)}}], [], BEGIN)
    first = watch.taken()
    watch.count([], [], BEGIN + 300)
    second = watch.taken()

    assert not any(signal == "drift_thumbs" for signal, _ in first)
    assert second == {
        ("drift_thumbs", f"chat/{ALL}"): (2.0, 3.0),
        ("drift_thumbs", "chat/acme"): (1.0, 2.0),
    }


def test_a_damaged_feedback_file_is_passed_over(history, tmp_path):
    path = tmp_path / "feedback.db"
    path.write_text("no database at all, whatever its name says" * 50)
    watch = DriftWatch(history, path)
    watch.count([], [], BEGIN)

    watch.count([], [], BEGIN + 300)

    assert watch.taken() == {}


def test_a_stronger_lane_that_nobody_reaches_has_a_share_of_nothing():
    values = stream_values({"chat": {ALL: (10, 1.0, 0, 0)}}, {ALL}, ["quality"])

    assert values["drift_share", f"quality/{ALL}"] == (0.0, 10.0)


async def test_a_drift_fires_in_the_adviser_and_names_what_drifted(watch, capsys):
    """As it does for who begins anew on a history that has it."""
    watched = watch()
    history = History(watched.adviser._history.path, AdviceConfig())
    end = hours(history, 240, lambda hour: 0.9 if hour < 190 else 0.5)
    history.close()
    watched.now = end

    await watched.see(*[text(running=2, kv=0.2)] * 42)

    row = watched.row("drift")
    assert row["state"] == "firing"
    assert "thumbs up of acme on 'chat'" in row["remedy"]

    path = watched.adviser._history.path
    watched.adviser.close()
    assert main(["advise", "--history", str(path), "--no-simulation"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "FIRING drift [chat]" in said
    assert "do look at what came or went: thumbs up of acme on 'chat' went from 0.8" in said
