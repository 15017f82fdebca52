"""What is remembered for the page: bounded, and without secrets."""

import asyncio
import logging
import threading
from types import SimpleNamespace

import pytest

from router.types import Lane, LaneDecision, Reason
from serve_app.console.deployments import Deployments
from serve_app.console.feed import MOST_COUNTED, MOST_ROWS, merged
from serve_app.console.log_ring import KEPT, keep_log
from serve_app.records.recent import EXPORTED, MAX_COUNTED, RecentRequests
from serve_app.records.request_record import record_of
from serve_app.request.call import Outcome


@pytest.fixture
def logger():
    made = logging.getLogger("test.console")
    made.propagate = False
    yield made
    made.handlers.clear()


# -- requests ---------------------------------------------------------------


def call(tenant="acme", code="200", outcome=Outcome.ANSWERED, score=0.5, **changes):
    decision = LaneDecision(Lane("chat", "small", 4096), Reason.DEFAULT, score, threshold=0.7)
    return SimpleNamespace(
        task_key="s",
        session_id=None,
        background=None,
        shadow=None,
        trace=None,
        outcome=outcome,
        request_id="r",
        tenant=SimpleNamespace(name=tenant, tier_name="paid"),
        decision=decision,
        code=code,
        stages={"engine": 0.1},
        parsed=object(),
        policies=SimpleNamespace(scorer=SimpleNamespace(version="v1")),
        served=SimpleNamespace(ttft_s=0.1, usage=None, replica=None),
        reply=SimpleNamespace(recoveries=[], verdicts=[], repairs=[]),
        refused=SimpleNamespace(message="x" * 1000, retry_after_s=1.0),
        **changes,
    )


def note(recent, ended):
    recent.note(record_of(ended, 0.1), ended)


def refused(tenant):
    return call(tenant, "shed", Outcome.REFUSED)


def test_a_flood_of_refusals_leaves_the_decisions_and_is_counted():
    recent = RecentRequests()
    note(recent, call())
    for _ in range(5000):
        note(recent, refused("flood"))

    found = recent.export()

    assert [x["tenant"] for x in found["decisions"]] == ["acme"]
    assert len(found["refusals"]) == EXPORTED
    assert len(found["refusals"][0]["message"]) == 300
    assert found["refused_by"] == [
        {"tenant": "flood", "tier": "paid", "code": "shed", "count": 5000}
    ]


def test_tenants_without_number_are_not_counted_without_number():
    recent = RecentRequests()
    for number in range(5000):
        note(recent, refused(f"tenant {number}"))

    found = recent.export()["refused_by"]

    assert len(found) == MAX_COUNTED
    assert found[-1]["tenant"] == "tenant 4999"


def test_features_are_worked_out_only_while_somebody_looks_and_a_few_a_second():
    now, asked = [0.0], []
    recent = RecentRequests(lambda *_: asked.append(1) or {"kind": 1.23456}, lambda: now[0])
    note(recent, call())
    assert not asked

    recent.export()
    for _ in range(50):
        note(recent, call())
    assert len(asked) == 1
    now[0] = 1.0
    note(recent, call(score=None))
    assert len(asked) == 1
    note(recent, call())
    assert len(asked) == 2
    assert recent.export()["decisions"][-1]["features"] == {"kind": 1.2346}
    now[0] = 60.0
    note(recent, call())
    assert len(asked) == 2


def test_a_request_that_cannot_be_explained_is_none_the_worse(caplog):
    def fails(*_):
        raise ValueError("boom")

    recent = RecentRequests(fails)
    recent.export()
    with caplog.at_level(logging.ERROR, logger="ray.serve"):
        note(recent, call())

    assert recent.export()["decisions"][0]["features"] is None
    assert "could not be worked out" in caplog.text


def test_what_the_replicas_remember_is_joined_newest_first():
    parts = [
        {"decisions": [{"time": x} for x in range(start, 100, 2)], "refused_by": [_count(start)]}
        for start in (0, 1)
    ]

    found = merged([*parts, {"ok": True}])

    assert [x["time"] for x in found["decisions"]] == list(range(99, 99 - MOST_ROWS, -1))
    assert found["refused_by"] == [{"tenant": "a", "tier": "t", "code": "shed", "count": 1}]
    many = [{"refused_by": [{**_count(x), "tenant": str(x)} for x in range(500)]}]
    assert len(merged(many)["refused_by"]) == MOST_COUNTED


def _count(number):
    return {"tenant": "a", "tier": "t", "code": "shed", "count": number}


# -- the log ----------------------------------------------------------------


def test_the_last_warnings_are_kept_and_the_same_again_is_counted(logger):
    ring = keep_log(logger)
    logger.setLevel(logging.DEBUG)
    logger.info("all is well")
    for _ in range(3):
        logger.warning("lane '%s': replica %s fails", "chat", "r1")
    logger.error("another")

    first, second = ring.rows()

    assert (first["text"], first["count"]) == ("lane 'chat': replica r1 fails", 3)
    assert (second["level"], second["count"]) == ("ERROR", 1)


def test_the_log_is_bounded_in_number_and_length(logger):
    ring = keep_log(logger)
    for number in range(500):
        logger.warning("%d %s", number, "x" * 5000)

    assert len(ring.rows()) == KEPT
    assert max(len(x["text"]) for x in ring.rows()) == 400


@pytest.mark.security
def test_no_key_and_no_exceptions_words_get_into_the_log(logger):
    ring = keep_log(logger)
    logger.warning("refused pm-0123456789ab-abc_DEF-123 and Bearer abc.def")
    fault = ValueError("my password is hunter2")
    logger.error("request %s failed", "r1", exc_info=fault)

    texts = [x["text"] for x in ring.rows()]

    assert texts == ["refused [key] and [key]", "request r1 failed (ValueError)"]


def test_a_message_that_cannot_be_made_harms_nobody(logger, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    ring = keep_log(logger)
    logger.warning("%d", "no number")

    assert ring.rows() == []


# -- Serve's state ----------------------------------------------------------


def state(status="UPDATING", **states):
    return {"lane:chat": {"status": status, "states": states, "message": ""}}


async def test_serve_is_asked_now_and_then_and_says_for_how_long():
    now, answers = [0.0], [state(STARTING=1), state(STARTING=1), state("HEALTHY", RUNNING=1)]
    deployments = Deployments(lambda: answers.pop(0), lambda: now[0])

    assert (await deployments.states())["lane:chat"]["for_s"] == 0.0
    assert len(answers) == 2
    await deployments.states()
    assert len(answers) == 2
    now[0] = 5.0
    assert (await deployments.states())["lane:chat"]["for_s"] == 5.0
    now[0] = 10.0
    found = (await deployments.states())["lane:chat"]
    assert (found["status"], found["for_s"]) == ("HEALTHY", 0.0)


async def test_a_controller_that_hangs_is_asked_once_and_what_was_known_is_shown(monkeypatch):
    release, now, asked = threading.Event(), [0.0], []

    def look():
        asked.append(1)
        if len(asked) > 1:
            release.wait(30)
        return state(RUNNING=len(asked))

    monkeypatch.setattr("serve_app.console.deployments.WITHIN_S", 30)
    deployments = Deployments(look, lambda: now[0])
    known = await deployments.states()
    monkeypatch.setattr("serve_app.console.deployments.WITHIN_S", 0.01)
    for now[0] in (10.0, 20.0, 30.0):
        assert await deployments.states() == known
    assert len(asked) == 2

    release.set()
    monkeypatch.setattr("serve_app.console.deployments.WITHIN_S", 30)
    assert (await deployments.states())["lane:chat"]["states"] == {"RUNNING": 2}


async def test_a_controller_that_fails_is_no_fault_of_the_page():
    def look():
        raise RuntimeError("no controller")

    assert await Deployments(look).states() == {}


async def test_callers_that_wait_for_one_answer_all_get_it():
    """The page and /status ask at the same time."""
    answers = [state(RUNNING=1)]
    deployments = Deployments(answers.pop)

    found = await asyncio.gather(*(deployments.states() for _ in range(3)))

    assert [sorted(x) for x in found] == [["lane:chat"]] * 3
