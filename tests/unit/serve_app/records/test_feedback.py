"""`POST /v1/feedback`: every answer, and nothing told about other tenants."""

import asyncio
import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import Rejected
from serve_app.records.feedback import FIELDS, MAX_WAITING, FeedbackDesk, parse_feedback
from serve_app.records.feedback_store import Feedback, labelled_rows
from tests.unit.serve_app.records.records import record

ROUTE = "/v1/feedback"
UP = {"request_id": "r-1", "thumb": "up"}
REMOTE = "203.0.113.9"


@pytest.fixture
def known(world):
    """A world where acme has had the requests r-1 and r-2, and slow has had r-3."""
    world.store.write(
        [
            record(tenant=tenant, request_id=name, time=world.now)
            for name, tenant in (("r-1", "acme"), ("r-2", "acme"), ("r-3", "slow"))
        ]
    )
    return world


def error_of(response) -> dict:
    return response.json()["error"]


async def test_a_thumb_is_kept_and_confirmed(known):
    """The answer names the request."""
    response = await known.post(ROUTE, UP, key="acme")

    assert response.status_code == 200
    assert response.json() == {"object": "feedback", "request_id": "r-1"}
    assert known.kept_feedback() == [("acme", "r-1", "up", None)]


async def test_a_preference_is_kept(known):
    """The request that was better, over the other."""
    body = {"request_id": "r-2", "preferred_over": "r-1"}

    response = await known.post(ROUTE, body, key="acme")

    assert response.status_code == 200
    assert known.kept_feedback() == [("acme", "r-2", None, "r-1")]


@pytest.mark.security
async def test_never_seen_and_another_tenants_request_are_told_alike(known):
    """Status, code, words and field are the same: nothing says which it is."""
    answers = [
        await known.post(ROUTE, {"request_id": name, "thumb": "up"}, key="acme")
        for name in ("r-9", "r-3")
    ]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert error_of(answers[0]) == error_of(answers[1])
    assert error_of(answers[0])["code"] == "invalid_request"
    assert error_of(answers[0])["param"] == "request_id"
    assert "r-" not in error_of(answers[0])["message"]
    assert known.kept_feedback() == []


@pytest.mark.security
async def test_another_tenants_request_is_no_alternative_either(known):
    """The second id is looked for as the first is."""
    body = {"request_id": "r-1", "preferred_over": "r-3"}

    response = await known.post(ROUTE, body, key="acme")

    assert (response.status_code, error_of(response)["param"]) == (404, "preferred_over")


@pytest.mark.parametrize(
    ("body", "param", "told"),
    [
        ({**UP, "thum": "up"}, "thum", "unknown key 'thum'; did you mean 'thumb'?"),
        ({"requestid": "r-1"}, "requestid", "did you mean 'request_id'?"),
        ({**UP, "comment": "x"}, "comment", "unknown key 'comment'"),
        ({"thumb": "up"}, "request_id", "1 to 256 characters"),
        ({**UP, "request_id": 7}, "request_id", "1 to 256 characters"),
        ({**UP, "request_id": ""}, "request_id", "1 to 256 characters"),
        ({**UP, "request_id": "x" * 257}, "request_id", "1 to 256 characters"),
        ({"request_id": "r-1"}, "thumb", "exactly one"),
        ({**UP, "preferred_over": "r-2"}, "thumb", "exactly one"),
        ({**UP, "thumb": None, "preferred_over": "r-2"}, "thumb", "exactly one"),
        ({**UP, "thumb": "upp"}, "thumb", "did you mean 'up'?"),
        ({**UP, "thumb": True}, "thumb", "'up' or 'down'"),
        ({**UP, "thumb": ["up"]}, "thumb", "'up' or 'down'"),
        ({"request_id": "r-1", "preferred_over": "r-1"}, "preferred_over", "another request"),
        ({"request_id": "r-1", "preferred_over": {}}, "preferred_over", "another request"),
        (["r-1"], None, "must be a JSON object"),
    ],
)
async def test_a_bad_body_is_told_with_its_field(known, body, param, told):
    """400 in OpenAI's form, with the nearest valid name."""
    response = await known.post(ROUTE, body, key="acme")

    error = error_of(response)
    assert (response.status_code, error["code"]) == (400, "invalid_request")
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert told in error["message"]
    assert known.kept_feedback() == []


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b'{"request_id": "\\ud800", "thumb": "up"}', 400, "invalid_json"),
        (b"x" * 5_000, 413, "request_too_large"),
    ],
)
async def test_what_is_no_small_json_is_refused(known, content, status, code):
    """Feedback is short."""
    async with known.client(key="acme") as client:
        response = await client.post(ROUTE, content=content)

    assert (response.status_code, error_of(response)["code"]) == (status, code)


@pytest.mark.security
@pytest.mark.parametrize("key", [None, "pm-000000000000-wrong", "old"])
async def test_feedback_needs_a_key_from_elsewhere(known, key):
    """Nothing is read of a caller who is unknown."""
    async with known.client(REMOTE, key) as client:
        response = await client.post(ROUTE, content=b"{")

    assert (response.status_code, error_of(response)["code"]) == (401, "invalid_api_key")


async def test_other_methods_are_refused(known):
    """405: the path exists."""
    async with known.client() as client:
        response = await client.get(ROUTE)

    assert response.status_code == 405


async def test_the_local_tenant_judges_its_own_requests(known, engine):
    """Without a key, by the id that the chat was sent with."""
    known.lanes.answers = [engine()]
    known.recorder.start()
    chat = {"messages": [{"role": "user", "content": "Hello"}]}

    await known.post("/v1/chat/completions", chat, headers={"x-request-id": "mine"})
    known.recorder.close()
    response = await known.post(ROUTE, {"request_id": "mine", "thumb": "down"})

    assert response.status_code == 200
    assert known.kept_feedback() == [("local", "mine", "down", None)]


@pytest.mark.security
async def test_a_prompt_is_kept_only_for_a_tenant_that_keeps_prompts(known, engine):
    """acme does, slow does not."""
    known.lanes.answers = [engine(), engine()]
    known.recorder.start()
    chat = {"messages": [{"role": "user", "content": "Hello"}]}

    for key in ("acme", "slow"):
        headers = {"x-request-id": f"chat-{key}"}
        await known.post("/v1/chat/completions", chat, key=key, headers=headers)
    known.recorder.close()
    for key in ("acme", "slow"):
        await known.post(ROUTE, {"request_id": f"chat-{key}", "thumb": "up"}, key=key)

    assert len(known.kept_feedback()) == 2
    assert [row["messages"] for row in labelled_rows(known.store_path)] == [chat["messages"]]


async def test_a_fault_of_the_file_tells_nothing(known, caplog):
    """500 in form; the log has the fault and not the ids."""
    known.store.file.path.unlink()
    known.store.file.path.mkdir()

    response = await known.post(ROUTE, UP, key="acme")

    assert (response.status_code, error_of(response)["code"]) == (500, "internal_error")
    assert "r-1" not in caplog.text


@given(st.dictionaries(st.sampled_from([*FIELDS, "x"]), st.sampled_from(["up", "a", "", 1, None])))
def test_every_body_is_feedback_or_a_refusal_of_one_of_its_fields(body):
    """No mapping gets through half checked."""
    parsed = parse_feedback(json.dumps(body).encode())

    if isinstance(parsed, Rejected):
        assert parsed.param in {*FIELDS, "x"}
    else:
        assert {"request_id", "thumb"} == set(body) or {"request_id", "preferred_over"} == set(body)
        assert (parsed.thumb is None) != (parsed.preferred_over is None)


# -- a request that another ingress replica has not written yet -------------


class LateStore:
    """Knows the request from the n-th time on that it is asked."""

    def __init__(self, unknown: int) -> None:
        self.unknown = unknown
        self.threads = set()
        self.asked = threading.Semaphore(0)

    def give(self, tenant, feedback, *, now):
        self.asked.release()
        self.threads.add(threading.current_thread())
        self.unknown -= 1
        return None if self.unknown < 0 else "request_id"


async def test_a_request_written_a_moment_later_is_found(monkeypatch):
    """It is looked for again, never on the event loop."""
    monkeypatch.setattr("serve_app.records.feedback.FIND_EVERY_S", 0.0)
    store = LateStore(unknown=3)

    refused = await FeedbackDesk(store, within_s=60).take("acme", Feedback("r-1", "up"))

    assert refused is None
    assert store.unknown == -1
    assert threading.current_thread() not in store.threads


async def test_looking_again_has_an_end(monkeypatch):
    """A made-up id costs a second, not a connection."""
    monkeypatch.setattr("serve_app.records.feedback.FIND_EVERY_S", 0.0)
    store = LateStore(unknown=10**9)

    refused = await FeedbackDesk(store, within_s=0.01).take("acme", Feedback("r-1", "up"))

    assert refused.param == "request_id"
    assert store.unknown < 10**9 - 1


async def test_many_made_up_ids_do_not_wait_together():
    """Beyond a bound, an unknown id is refused at once."""
    store = LateStore(unknown=10**9)
    desk = FeedbackDesk(store, within_s=60)
    feedback = Feedback("r-1", "up")
    waiting = [asyncio.create_task(desk.take("acme", feedback)) for _ in range(MAX_WAITING)]
    # More lookups than there are requests: each has been told once that it is unknown.
    for _ in range(2 * MAX_WAITING):
        await asyncio.to_thread(store.asked.acquire)

    refused = await asyncio.wait_for(desk.take("acme", feedback), timeout=10)

    assert refused is not None
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert desk.waiting == 0
