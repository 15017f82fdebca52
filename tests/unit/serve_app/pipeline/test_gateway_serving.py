"""A request on its way through lanes that answer, fail, break off and stall."""

import asyncio
import contextlib
import json
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from router.routing.levels import Band
from serve_app.config.prices import PricesConfig
from serve_app.placement.lanes import Unreachable, UpstreamFault, UpstreamTimeout
from serve_app.relay import failover
from serve_app.transport.upstream import BrokenConnection

pytestmark = pytest.mark.usefixtures("both_ways")

HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20}
CHAT = "/v1/chat/completions"
DONE = b"data: [DONE]\n\n"
CLOSING = (
    b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}\n\n'
)


def delta(text) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


FROZEN = (
    "serve_app.pipeline.reserving",
    "serve_app.pipeline.settlement",
    "serve_app.pipeline.state",
    "serve_app.relay.relay",
    "serve_app.request.response_headers",
)
"""Modules that read a bucket's clock."""


@pytest.fixture
def frozen_clock(monkeypatch):
    """Buckets refill with time: none passes where a level is compared to the token."""
    clock = SimpleNamespace(monotonic=lambda: 1000.0, perf_counter=time.perf_counter)
    for module in FROZEN:
        monkeypatch.setattr(f"{module}.time", clock)


def remaining_tokens(world, tenant) -> int:
    """As its bucket was left: at no time has it refilled."""
    ceiling = world.state.ceiling(world.state.policies.auth.tenant(tenant))
    return ceiling.tokens_state(now=0.0).remaining


async def test_an_answer_is_relayed_whole_with_its_decision_in_the_headers(world, engine):
    """The engine's bytes are the client's; headers tell where they came from."""
    answer = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}, "odd": [1]}
    world.lanes.answers = [engine(answer)]

    response = await world.post(CHAT, {**HELLO, "top_k": 3}, key="acme")

    assert (response.status_code, response.json()) == (200, answer)
    headers = response.headers
    assert [headers[f"x-pointsman-{x}"] for x in ("lane", "model", "reason")] == [
        "chat",
        "small",
        "default",
    ]
    assert headers["x-session-id"].startswith("derived-")
    assert headers["x-ratelimit-limit-tokens"] == "100000"
    sent = world.lanes.opened[0].body
    assert (sent["model"], sent["top_k"], sent["messages"]) == ("small", 3, HELLO["messages"])
    assert len(sent["cache_salt"]) == 32


async def test_a_complex_question_goes_to_the_stronger_lane_with_the_tier_s_priority(world, engine):
    """Priority is sent where the lane's engine schedules by it."""
    world.lanes.answers = [engine(), engine()]
    hard = {"messages": [{"role": "user", "content": "A hard question"}]}

    response = await world.post(CHAT, hard, key="slow")
    await world.post(CHAT, HELLO, key="slow")

    assert response.headers["x-pointsman-reason"] == "complex"
    assert [sent.body.get("priority") for sent in world.lanes.opened] == [5, None]
    # Two requests were scored and one went up; fewer than 500 count as 500.
    assert world.state.escalation.status()["quality"]["share"] == 1 / 500


async def test_only_allowed_request_headers_reach_the_engine(world, engine):
    """Keys and engine-internal headers stay here."""
    world.lanes.answers = [engine()]
    headers = {"x-vllm-secret": "1", "traceparent": "t", "x-request-id": "mine"}

    await world.post(CHAT, HELLO, key="acme", headers=headers)

    assert world.lanes.opened[0].headers == {"traceparent": "t", "x-request-id": "mine"}


async def test_debug_headers_are_sent_when_asked_for(world, engine):
    """Score, threshold, replica and stage timings."""
    world.lanes.answers = [engine()]

    response = await world.post(CHAT, HELLO, headers={"x-pointsman-debug": "1"})

    assert response.headers["x-pointsman-score"] == "0.1000"
    assert response.headers["x-pointsman-threshold"] == "0.5000"
    assert response.headers["x-pointsman-replica"] == "r1"
    assert "engine;dur=" in response.headers["server-timing"]
    assert "x-pointsman-propensity" not in response.headers


async def test_a_request_near_the_threshold_says_how_likely_its_lane_was(
    world, engine, monkeypatch
):
    """With debug headers, where chance has a part in it; the same when it is sent again."""
    escalation, policies = world.state.escalation, world.state.policies
    world.state.policies = replace(policies, routing=replace(policies.routing, epsilon=0.25))
    views = escalation._views
    near = Band(0.0, 1.0)
    monkeypatch.setattr(
        escalation,
        "_views",
        lambda *x: {lane: replace(view, band=near) for lane, view in views(*x).items()},
    )
    world.lanes.answers = [engine(), engine()]
    headers = {"x-pointsman-debug": "1", "x-session-id": "s1"}

    first, again = [await world.post(CHAT, HELLO, headers=headers) for _ in range(2)]

    assert first.headers["x-pointsman-propensity"] in ("0.25", "0.75")
    assert first.headers["x-pointsman-lane"] == again.headers["x-pointsman-lane"]


@pytest.mark.usefixtures("frozen_clock")
async def test_a_request_is_settled_with_the_engine_s_count(world, engine):
    """Ten tokens were used, whatever had been reserved."""
    world.lanes.answers = [engine()]

    await world.post(CHAT, HELLO, key="acme")

    assert world.reserved() == 0
    assert remaining_tokens(world, "acme") == 99_990
    assert world.count("pointsman_tokens_total", tenant="acme", kind="completion") == 3


async def test_tokens_cost_what_their_lane_s_do(world, engine):
    """Seven read and three written, each at its price; a reload changes it."""
    prices = PricesConfig.model_validate(
        {"lanes": {"chat": {"prompt": 1_000_000, "completion": 10_000_000}}}
    )
    policies = world.state.policies
    priced = policies.fleet.model_copy(update={"prices": prices})
    world.lanes.answers = [engine(), engine()]

    await world.post(CHAT, HELLO, key="acme")
    assert world.count("pointsman_cost_total", tenant="acme") == 0
    world.state.apply(replace(policies, fleet=priced))
    await world.post(CHAT, HELLO, key="acme")

    assert world.count("pointsman_cost_total", tenant="acme") == 7 + 30


async def test_counting_tokens_is_not_charged(world, engine):
    """Nothing is generated and nothing reserved."""
    world.lanes.answers = [engine({"input_tokens": 5})]

    response = await world.post("/v1/messages/count_tokens", HELLO, key="acme")

    assert response.json() == {"input_tokens": 5}
    assert remaining_tokens(world, "acme") == 100_000


@pytest.mark.usefixtures("frozen_clock")
async def test_a_stream_is_relayed_without_the_usage_that_was_not_asked_for(world, stream):
    """The client sees its own stream; accounting sees the usage."""
    world.lanes.answers = [stream(delta("a"), delta("b") + CLOSING[:9], CLOSING[9:] + DONE)]

    response = await world.post(CHAT, {**HELLO, "stream": True}, key="acme")

    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.content == delta("a") + delta("b") + DONE
    assert world.lanes.opened[0].body["stream_options"] == {"include_usage": True}
    assert remaining_tokens(world, "acme") == 99_990


async def test_a_paced_stream_carries_the_same_bytes(world, stream):
    """A ceiling changes when tokens leave, never what they say."""
    words = [delta(str(i)) for i in range(8)]
    world.lanes.answers = [stream(b"".join(words[:6]), words[6][:5], words[6][5:] + words[7], DONE)]

    response = await world.post(CHAT, {**HELLO, "stream": True}, key="slow")

    assert response.content == b"".join(words) + DONE
    assert world.count("pointsman_ceiling_wait_seconds_count", tier="paced") == 1


@pytest.mark.parametrize("bad", ["fault", "500"])
async def test_a_replica_that_fails_before_the_first_byte_is_replaced(world, engine, bad):
    """The session's next replica answers, and the client notices nothing."""
    failing = UpstreamFault if bad == "fault" else engine(status=500)
    world.lanes.answers = [failing, engine()]

    response = await world.post(CHAT, HELLO)

    assert response.status_code == 200
    assert [sent.replica for sent in world.lanes.opened] == ["r1", "r2"]
    assert world.count("pointsman_stream_recoveries_total", outcome="retried") == 1


async def test_replicas_that_are_dead_already_are_no_attempts(world, engine, monkeypatch):
    """All that Serve still lists may be dead, while another one is starting in their place."""
    monkeypatch.setattr(failover, "PAUSE_S", 0.0)
    world.lanes.answers = [*[Unreachable] * 5, engine(status=503), Unreachable, engine()]

    response = await world.post(CHAT, HELLO)

    assert response.status_code == 200
    assert len(world.lanes.opened) == 8


async def test_a_lane_whose_replicas_stay_dead_is_a_503(world, monkeypatch):
    monkeypatch.setattr(failover, "PAUSE_S", 0.0)
    world.lanes.answers = [Unreachable] * 20

    response = await world.post(CHAT, HELLO, key="acme")

    assert (response.status_code, response.json()["error"]["code"]) == (503, "no_replica")
    assert len(world.lanes.opened) == 1 + world.state.policies.fleet.recovery.max_failovers
    assert remaining_tokens(world, "acme") == 100_000


async def test_a_request_that_no_replica_answers_is_a_503_after_three_attempts(world, engine):
    """Trying on would only spread what is wrong."""
    world.lanes.answers = [engine(status=503) for _ in "123"]

    response = await world.post(CHAT, HELLO, key="acme")

    assert (response.status_code, response.json()["error"]["code"]) == (503, "no_replica")
    assert int(response.headers["retry-after"]) >= 1
    assert [sent.replica for sent in world.lanes.opened] == ["r1", "r2", "r3"]
    assert remaining_tokens(world, "acme") == 100_000


async def test_a_lane_without_replicas_is_a_503(world):
    """No capacity exists, so nothing is tried."""
    world.lanes.empty = True

    response = await world.post(CHAT, HELLO)

    assert (response.status_code, response.json()["error"]["code"]) == (503, "no_replica")


async def test_an_engine_that_stays_silent_is_a_504_and_not_retried(world):
    """Another replica would be as slow, and the client has waited enough."""
    world.lanes.answers = [UpstreamTimeout]

    response = await world.post(CHAT, HELLO)

    assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert len(world.lanes.opened) == 1


async def test_an_engine_s_refusal_is_relayed_in_our_words_and_not_charged(world, engine):
    """A bad request is bad on every replica."""
    message = "This model's maximum context length is 4096 tokens."
    world.lanes.answers = [engine({"error": {"message": message}}, status=400)]

    response = await world.post("/v1/messages", HELLO, key="acme")

    assert response.status_code == 400
    assert response.json()["type"] == "error"
    assert response.json()["error"]["code"] == "context_length_exceeded"
    assert remaining_tokens(world, "acme") == 100_000


@pytest.mark.parametrize("key", ["acme", "slow"])
@pytest.mark.parametrize(
    ("path", "first", "start"),
    [
        (CHAT, delta("a"), b'data: {"error":'),
        (
            "/v1/responses",
            b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta"}\n\n',
            b"event: error\ndata: {",
        ),
        (
            "/v1/messages",
            b'event: content_block_delta\ndata: {"type":"content_block_delta"}\n\n',
            b"event: error\ndata: {",
        ),
    ],
)
async def test_a_stream_that_breaks_ends_with_one_error_event(
    world, stream, path, first, start, key
):
    """The client is told, in its dialect; half an event is not passed on."""
    response = stream(first, delta("b")[:7], BrokenConnection())
    world.lanes.answers = [response]
    body = {**HELLO, "input": "Hello", "stream": True}

    answer = await world.post(path, body, key=key)

    assert answer.status_code == 200
    assert answer.content.startswith(first + start)
    assert answer.content.count(b"\n\n") == 2
    assert b'"no_replica"' in answer.content
    assert response.is_closed
    assert (world.reserved(), world.in_flight) == (0, 0)


async def test_an_engine_s_own_error_event_ends_the_stream_in_our_words(world, stream):
    """What the engine says of its insides is replaced."""
    world.lanes.answers = [stream(delta("a"), b'data: {"error":{"message":"10.0.0.7"}}\n\n')]

    answer = await world.post(CHAT, {**HELLO, "stream": True})

    assert answer.content.count(b'data: {"error":') == 1
    assert b"10.0.0.7" not in answer.content


@pytest.mark.usefixtures("frozen_clock")
async def test_a_broken_stream_is_charged_for_what_was_delivered(world, stream):
    """Without the engine's count, the events passed on are counted."""
    world.lanes.answers = [stream(delta("a") * 5, BrokenConnection())]

    await world.post(CHAT, {**HELLO, "stream": True}, key="acme")

    used = 100_000 - remaining_tokens(world, "acme")
    assert 5 < used < 100


async def test_a_tenant_over_its_ceiling_is_a_429_with_retry_after(world, engine):
    """The refusal says when to come back, and reaches no engine."""
    world.lanes.answers = [engine(), engine()]
    responses = [await world.post(CHAT, HELLO, key="guest") for _ in range(3)]

    assert [response.status_code for response in responses] == [200, 200, 429]
    assert responses[2].json()["error"]["code"] == "request_rate"
    assert 29 <= int(responses[2].headers["retry-after"]) <= 30
    assert "x-should-retry" not in responses[2].headers
    assert responses[2].headers["x-ratelimit-remaining-requests"] == "0"
    assert world.count("pointsman_shed_total", tier="free", code="request_rate") == 1


async def test_a_fault_of_ours_settles_the_request(world, caplog):
    """Nothing stays reserved or in flight after an exception."""
    world.lanes.answers = [RuntimeError("bug")]

    with caplog.at_level("CRITICAL", "ray.serve"):
        await world.post(CHAT, HELLO, key="acme")

    assert (world.reserved(), world.in_flight) == (0, 0)
    assert remaining_tokens(world, "acme") == 100_000


@pytest.mark.parametrize("key", ["acme", "slow"])
async def test_a_client_that_leaves_settles_and_closes_the_engine_s_request(world, stream, key):
    """Cancelling mid-stream aborts the engine and accounts for what was sent."""
    response = stream(delta("a"), asyncio.Event())
    world.lanes.answers = [response]
    task = asyncio.create_task(world.post(CHAT, {**HELLO, "stream": True}, key=key))
    await response.waits.wait()
    before = world.in_flight

    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

    assert (before, world.in_flight, world.reserved()) == (1, 0, 0)
    assert response.is_closed
    tier = "paid" if key == "acme" else "paced"
    assert (
        world.count(
            "pointsman_requests_total", lane="chat", reason="default", tier=tier, code="499"
        )
        == 1
    )


async def test_a_fault_of_ours_is_not_counted_as_a_success(world, caplog):
    """`requests_total` tells faults from answers."""
    world.lanes.answers = [RuntimeError("bug")]

    with caplog.at_level("CRITICAL", "ray.serve"):
        await world.post(CHAT, HELLO, key="acme")

    labels = {"lane": "chat", "reason": "default", "tier": "paid"}
    assert world.count("pointsman_requests_total", **labels, code="200") == 0


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, {"response_format": "json_object"}),
        (CHAT, {"response_format": [1]}),
        (CHAT, {"stop": 5}),
        (CHAT, {"stop": True, "stream": True}),
        ("/v1/completions", {"prompt": "x", "messages": 5}),
        ("/v1/responses", {"input": "x", "messages": ["x"]}),
    ],
)
async def test_what_only_resuming_reads_is_the_engine_s_to_refuse(world, engine, path, fields):
    """Whatever its type: the request gets there."""
    world.lanes.answers = [engine({"error": {"message": "no such thing"}}, status=400)]

    response = await world.post(path, {**HELLO, **fields}, key="acme")

    assert response.status_code == 400
    assert len(world.lanes.opened) == 1


@pytest.mark.parametrize("name", ["x-request-disconnect-disabled", "x-request-timeout-seconds"])
async def test_headers_that_serve_would_act_on_are_refused(world, name):
    """It would answer in its own words, or not tell us that the client left."""
    async with world.client() as client:
        headers = {"authorization": f"Bearer {world.keys['acme']}", name: "1"}
        response = await client.post(CHAT, json=HELLO, headers=headers)

    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")
    assert not world.lanes.opened


async def test_a_bad_request_is_told_what_is_left_of_its_ceilings(world):
    """As every answer is."""
    response = await world.post(CHAT, {"messages": []}, key="acme")

    assert response.status_code == 400
    assert response.headers["x-ratelimit-limit-tokens"] == "100000"


async def test_a_replica_on_trial_gets_one_request(world, engine):
    """It is noted when the request goes out, not when the answer begins."""
    breakers = world.fault_book.breakers("chat")
    at = time.monotonic() - breakers.config.eject_s - 1
    for replica in ("r1", "r2", "r3"):
        breakers.note_success(replica, now=at)
    for _ in range(breakers.config.eject_after):
        breakers.note_fault("r1", now=at)
    assert breakers.avoided(now=at + 0.1) == {"r1"}
    assert not breakers.avoided(now=time.monotonic())
    seen = []

    original = world.lanes.open

    async def opened(replica, path, body, headers):
        seen.append((replica.id, "r1" in breakers.avoided(now=time.monotonic())))
        return await original(replica, path, body, headers)

    world.lanes.open = opened
    world.lanes.answers = [engine({"choices": []})]

    await world.post(CHAT, HELLO, key="acme")

    assert seen == [("r1", True)]
