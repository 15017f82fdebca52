"""Requests in experiments, from their headers to what was rated of them."""

import json
from datetime import UTC, datetime

import pytest

from serve_app.config.experiments import ExperimentConfig
from serve_app.records.rated import rated
from tests.unit.serve_app.experiments.conftest import ONE, use

CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 40}
CONFIG = ExperimentConfig.model_validate(ONE)


async def ask(world, engine, session, request_id="", body=HELLO, key="acme"):
    world.lanes.answers = [engine()]
    headers = {"x-session-id": session} | ({"x-request-id": request_id} if request_id else {})
    response = await world.post(CHAT, body, key=key, headers=headers)
    assert response.status_code == 200, response.text
    return response


async def arms(world, engine, count=16):
    """The sessions of each arm, by their requests' lanes."""
    found = {"chat": [], "quality": []}
    for n in range(count):
        response = await ask(world, engine, f"s{n}")
        found[response.headers["x-pointsman-lane"]].append(f"s{n}")
    return found


async def test_sessions_are_divided_and_stay(world, engine, clock):
    """With the reason on those that were moved; the same at another time."""
    use(world, clock, ONE)

    first = await arms(world, engine)
    clock.now += 5 * 86_400
    again = await arms(world, engine)
    moved = await ask(world, engine, first["quality"][0])
    stayed = await ask(world, engine, first["chat"][0])

    assert all(len(x) >= 3 for x in first.values())
    assert again == first
    assert moved.headers["x-pointsman-reason"] == "experiment"
    assert stayed.headers["x-pointsman-reason"] == "default"


async def test_others_are_left_alone(world, engine, clock):
    """Tiers that may not use the lane, pinned requests, and all when it has ended."""
    use(world, clock, ONE)
    treated = (await arms(world, engine))["quality"][0]

    guest = await ask(world, engine, treated, key="guest")
    pinned = await ask(world, engine, treated, body={**HELLO, "model": "chat"})
    clock.now += 30 * 86_400
    late = await ask(world, engine, treated)

    assert [x.headers["x-pointsman-lane"] for x in (guest, pinned, late)] == ["chat"] * 3


async def test_a_dry_run_tells_the_arm(world, engine, clock):
    """And sends nothing."""
    use(world, clock, ONE)
    treated = (await arms(world, engine))["quality"][0]

    told = await world.post("/v1/route", HELLO, key="acme", headers={"x-session-id": treated})

    assert (told.json()["experiment"], told.json()["arm"]) == ("models", "treatment")


async def test_experiments_do_not_spend_the_stronger_lane_s_share(world, engine, clock):
    """The treatment is the stronger lane here: what goes there is no escalation."""
    use(world, clock, ONE)

    await arms(world, engine)

    assert world.state.escalation.status()["quality"]["share"] == 0.0


async def test_what_an_experiment_moves_is_no_drift(world, engine, clock):
    """Each score is of the lane that routing chose."""
    use(world, clock, ONE)

    await arms(world, engine)

    assert set(world.state.traffic.streams.take()) == {"chat"}


async def test_the_request_log_has_the_arm(world, engine, clock):
    """By the names that the file has."""
    use(world, clock, ONE)
    world.recorder.start()

    await arms(world, engine, 4)
    world.recorder.close()

    text = (world.folder / "log" / "requests-i1.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    assert {x["experiment"] for x in rows} == {"models"}
    assert all((x["arm"] == "treatment") == (x["lane"] == "quality") for x in rows)


@pytest.fixture
async def two(world, engine, clock, monkeypatch):
    """A session of each arm, whose requests `r-control` and `r-treatment` are kept."""
    use(world, clock, ONE)
    sessions = await arms(world, engine)
    world.recorder.start()
    await ask(world, engine, sessions["chat"][0], "r-control")
    await ask(world, engine, sessions["quality"][0], "r-treatment")
    await ask(world, engine, "x", "r-pinned", {**HELLO, "model": "quality"})
    await ask(world, engine, "y", "r-pinned-chat", {**HELLO, "model": "chat"})
    world.recorder.close()
    return world


async def give(world, **body):
    response = await world.post("/v1/feedback", body, key="acme")
    assert response.status_code == 200, response.text


async def found(world, since=0.0):
    """What was rated in an experiment that runs today."""
    today = world.now.replace(hour=0, minute=0, second=0, microsecond=0)
    return rated(world.store_path, CONFIG.model_copy(update={"starts": today}), since)


async def test_preferences_between_arms_are_ratings(two):
    """Whoever of the two is preferred, also where the client had named the lanes."""
    await give(two, request_id="r-treatment", preferred_over="r-control")
    await give(two, request_id="r-pinned-chat", preferred_over="r-pinned")
    await give(two, request_id="r-control", preferred_over="r-pinned-chat")

    shown = await found(two)

    assert [x.treatment_won for x in shown.ratings] == [True, False]
    assert all(len(x.session) == 16 for x in shown.ratings)


async def test_thumbs_of_arms_are_outcomes_and_those_of_pinned_requests_are_not(two):
    """Who names a lane chose it."""
    await give(two, request_id="r-treatment", thumb="up")
    await give(two, request_id="r-control", thumb="down")
    await give(two, request_id="r-pinned", thumb="down")

    shown = await found(two)

    assert [(x.is_treated, x.value) for x in shown.outcomes] == [(True, 1.0), (False, 0.0)]


async def test_what_was_asked_before_sessions_were_divided_so_does_not_count(two):
    """Whenever it is rated: its arm is of another experiment of the same name."""
    await give(two, request_id="r-treatment", thumb="up")
    await give(two, request_id="r-treatment", preferred_over="r-control")

    shown = await found(two, since=datetime.now(UTC).timestamp())

    assert (len(shown.ratings), len(shown.outcomes)) == (0, 0)
    assert len((await found(two, since=two.now.timestamp() - 3600)).outcomes) == 1


async def test_nothing_is_rated_without_a_file_or_before_the_experiment(two):
    """Of another time it says nothing."""
    await give(two, request_id="r-treatment", thumb="up")

    later = CONFIG.model_copy(update={"starts": two.now.replace(year=2099)})
    assert rated(two.store_path, later).outcomes == []
    assert rated(two.folder / "none.db", CONFIG).ratings == ()
