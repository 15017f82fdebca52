"""What a finished request leaves behind: a log line, and a row that feedback finds."""

import asyncio
import json
import sqlite3
from contextlib import closing

import pytest

from serve_app.records.recorder import MAX_KEPT_CHARS, Recorder
from tests.unit.serve_app.records.records import record

CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Hello SECRET"}]}
HARD = {"messages": [{"role": "system", "content": "be SECRET"}, *HELLO["messages"]]}


def lines_of(world) -> list[dict]:
    world.recorder.close()
    text = (world.folder / "log" / "requests-i1.jsonl").read_bytes()
    return [json.loads(line) for line in text.splitlines()]


def kept(world) -> list[tuple]:
    world.recorder.close()
    with closing(sqlite3.connect(world.store_path)) as db:
        query = "SELECT tenant, request_id, lane, model, reason, classifier, prompt FROM requests"
        return db.execute(query).fetchall()


@pytest.fixture
def recording(world):
    world.recorder.start()
    return world


async def test_a_whole_answer_is_one_line_and_one_row(recording, engine):
    """The decision, the outcome and the engine's count; no word of the prompt in the log."""
    recording.lanes.answers = [engine()]

    await recording.post(CHAT, HELLO, key="slow", headers={"x-request-id": "r-1"})

    (line,) = lines_of(recording)
    assert line.pop("time").endswith("Z")
    assert 0 < line.pop("duration_s") < 10
    assert len(line.pop("session")) == 16
    assert line == {
        "request_id": "r-1",
        "tenant": "slow",
        "tier": "paced",
        "lane": "chat",
        "reason": "default",
        "score": 0.1,
        "threshold": 0.5,
        "classifier": "fake",
        "shadow_score": None,
        "shadow_classifier": None,
        "code": "200",
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "ttft_s": None,
        "background": None,
        "model": "small",
        "tool_outcomes": None,
        "tool_repairs": None,
        "trace_id": None,
        "cached_tokens": 0,
        "propensity": 1.0,
        "experiment": None,
        "arm": None,
    }
    assert kept(recording) == [("slow", "r-1", "chat", "small", "default", "fake", None)]


async def test_a_stream_has_its_time_to_the_first_token(recording, stream):
    """Received to first byte passed on."""
    event = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'
    recording.lanes.answers = [stream(event, b"data: [DONE]\n\n")]

    await recording.post(CHAT, {**HELLO, "stream": True}, key="acme")

    (line,) = lines_of(recording)
    assert 0 < line["ttft_s"] <= line["duration_s"]


async def test_a_pinned_request_was_not_scored(recording, engine):
    """No score, so no classifier that gave it."""
    recording.lanes.answers = [engine()]

    await recording.post(CHAT, {**HELLO, "model": "quality"}, key="acme")

    (line,) = lines_of(recording)
    assert (line["reason"], line["score"], line["classifier"]) == ("pinned", None, None)


@pytest.mark.parametrize(
    ("body", "code", "lane"),
    [({"messages": 1}, "invalid_request", None), (HELLO, "no_replica", "chat")],
)
async def test_a_refused_request_is_a_line_and_no_row(recording, body, code, lane):
    """There is no answer to judge."""
    recording.lanes.empty = True

    await recording.post(CHAT, body, key="acme")

    (line,) = lines_of(recording)
    assert (line["code"], line["lane"], line["prompt_tokens"]) == (code, lane, None)
    assert not recording.store_path.exists() or kept(recording) == []


async def test_a_client_that_left_can_still_judge(recording, engine, stream, call_raw):
    """It has seen a part of the answer."""
    never = asyncio.Event()
    answer = stream(b"data: {}\n\n", never)
    recording.lanes.answers = [answer]
    body = json.dumps({**HELLO, "stream": True}).encode()
    task = asyncio.create_task(
        call_raw(recording.gateway, [{"type": "http.request", "body": body}], path=CHAT, headers=[])
    )
    await answer.waits.wait()

    task.cancel()
    await task

    assert [line["code"] for line in lines_of(recording)] == ["499"]
    assert len(kept(recording)) == 1


async def test_a_dry_run_and_a_count_of_tokens_leave_nothing(recording, engine):
    """Neither generated anything."""
    recording.lanes.answers = [engine({"input_tokens": 4})]

    await recording.post("/v1/route", HELLO, key="acme")
    counted = await recording.post("/v1/messages/count_tokens", HELLO, key="acme")

    recording.recorder.close()
    assert counted.status_code == 200
    assert list((recording.folder / "log").glob("*")) == []
    assert recording.pipeline.recent.export()["decisions"] == []


async def test_the_prompt_of_a_tenant_that_keeps_them_is_its_system_and_user_text(
    recording, engine
):
    """In the store, never in the log, whatever the tenant."""
    recording.lanes.answers = [engine()]

    await recording.post(CHAT, HARD, key="acme")

    ((*_, prompt),) = kept(recording)
    assert json.loads(prompt) == HARD["messages"]
    log = (recording.folder / "log" / "requests-i1.jsonl").read_bytes()
    assert b"SECRET" not in log


async def test_a_long_prompt_is_not_kept(recording, engine):
    """What waits to be written is bounded."""
    recording.lanes.answers = [engine(), engine()]

    for chars in (MAX_KEPT_CHARS, MAX_KEPT_CHARS + 1):
        body = {"messages": [{"role": "user", "content": "x" * chars}], "max_tokens": 1}
        assert (await recording.post(CHAT, body, key="acme")).status_code == 200

    assert [prompt is not None for *_, prompt in kept(recording)] == [True, False]


async def test_a_shadow_score_is_logged_beside_the_one_that_decided(recording):
    """For comparing classifiers on the same traffic."""
    shadowed = record(shadow_score=0.75, shadow_classifier="v2")
    recording.recorder.log.put(shadowed)

    (line,) = lines_of(recording)

    assert (line["shadow_score"], line["shadow_classifier"]) == (0.75, "v2")


async def test_records_that_are_lost_are_counted(world, engine):
    """A writer that does not keep up costs the request nothing."""
    world.recorder.feedback.capacity = 0
    world.lanes.answers = [engine()]

    response = await world.post(CHAT, HELLO, key="acme")

    assert response.status_code == 200
    assert world.count("pointsman_request_records_dropped_total", sink="feedback") == 1
    assert world.count("pointsman_request_records_dropped_total", sink="log") == 0


async def test_neither_log_nor_metrics_have_a_word_of_a_prompt(world, engine, caplog):
    """With a store that cannot be written, too."""
    world.store_path.mkdir()
    world.recorder.start()
    world.lanes.answers = [engine()]

    await world.post(CHAT, HARD, key="acme")

    world.recorder.close()
    assert "cannot write" in caplog.text
    assert "SECRET" not in caplog.text + world.metrics.render()
    assert world.count("pointsman_request_records_dropped_total", sink="feedback") == 1


def test_a_recorder_without_writers_does_nothing():
    """Benchmarks and tests run without one."""
    recorder = Recorder()

    recorder.start()
    recorder.record(None, None)
    recorder.close()
