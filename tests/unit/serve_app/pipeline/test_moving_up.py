"""Requests that begin on their own lane, are held, and move to the stronger one, or do not."""

import asyncio
import dataclasses
import json

import pytest

from serve_app.config.fleet import FleetConfig
from serve_app.pipeline.state import IngressState
from serve_app.placement.lanes import NoReplica
from serve_app.routing.policies import build_policies
from serve_app.tracing.attributes import call_attributes
from serve_app.transport.upstream import BrokenConnection
from tests.unit.serve_app.conftest import FLEET, FakeResponse, FakeScorer
from tests.unit.serve_app.relay.listening import Listener, with_keepalive
from tests.unit.serve_app.simulated_lanes import Break, SimulatedLanes

CHAT = "/v1/chat/completions"
CASCADE = {"uncertainty": 1.0, "hold_tokens": 3, "whole_s": 60}


def ask(text="a hard one [unsure]", *, stream=True, **more):
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    messages = [{"role": "user", "content": text}]
    return {"messages": messages, "temperature": 0, "max_tokens": 8, **options, **more}


def with_cascade(world, *, lanes=None, fleet=None, routing=None, **cascade):
    """The world in which a score of 0.9 is in the band; its lanes are simulated ones."""
    given = FLEET | (fleet or {})
    routed = {**FLEET["routing"], "cascade": {**CASCADE, **cascade}, **(routing or {})}
    config = FleetConfig.model_validate({**given, "routing": routed})
    policies = build_policies(
        config, world.tenants, FakeScorer(), lambda share: 1 - share, book=world.book
    )
    lanes = SimulatedLanes() if lanes is None else lanes
    world.use(lanes, state=IngressState(policies, "s3"))
    return lanes


def events_of(response):
    return [json.loads(e[6:]) for e in response.text.split("\n\n") if e.startswith("data: {")]


def text_of(response):
    if response.headers["content-type"] == "application/json":
        return response.json()["choices"][0]["message"]["content"]
    choices = [choice for event in events_of(response) for choice in event["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def lanes_asked(lanes):
    return [body["model"] for _, _, body in lanes.opened]


def outcomes(world, *names):
    return [
        world.count("pointsman_cascade_holds_total", lane="chat", outcome=name) for name in names
    ]


def stage(world):
    return world.state.escalation.cascading


@pytest.mark.parametrize("stream", [True, False])
async def test_who_is_unsure_moves_before_a_byte_leaves(world, stream):
    """The client has the stronger lane's answer alone, and is charged for nothing else."""
    lanes = with_cascade(world)

    response = await world.post(CHAT, ask(stream=stream), key="acme")

    assert response.status_code == 200
    assert response.headers["x-pointsman-lane"] == "quality"
    assert response.headers["x-pointsman-reason"] == "cascade"
    assert lanes_asked(lanes) == ["small", "large"]
    assert [bool(body.get("logprobs")) for _, _, body in lanes.opened] == [True, False]
    direct = await world.post(CHAT, ask(stream=stream, model="quality"), key="acme")
    assert text_of(response) == text_of(direct)
    assert '"model":"small"' not in response.text and '"logprobs":{' not in response.text
    assert all(answer.is_closed for answer in lanes.answers)
    assert (world.reserved(), world.in_flight) == (0, 0)
    assert world.count("pointsman_tokens_total", tenant="acme", kind="completion") == 16
    wasted = world.count("pointsman_cascade_draft_tokens_total", lane="chat", kind="completion")
    assert wasted == (3 if stream else 8)
    assert outcomes(world, "moved", "sure") == [1, 0]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("chunk_bytes", [None, 7])
async def test_who_is_sure_gets_what_it_would_have_got(world, stream, chunk_bytes):
    """Byte by byte, but for the engine's ids and a member that says null."""
    plain = SimulatedLanes(chunk_bytes=chunk_bytes)
    world.use(plain)
    before = await world.post(CHAT, ask("a sure one", stream=stream), key="acme")
    lanes = with_cascade(world, lanes=SimulatedLanes(chunk_bytes=chunk_bytes))

    response = await world.post(CHAT, ask("a hard sure one", stream=stream), key="acme")

    assert lanes_asked(lanes) == ["small"] and lanes.opened[0][2]["logprobs"] is True
    assert response.headers["x-pointsman-reason"] == "default"
    assert '"logprobs":{' not in response.text
    assert '"content":' in response.text and "-0.05" not in response.text
    assert response.text.count("data: [DONE]") == before.text.count("data: [DONE]")
    assert outcomes(world, "sure", "moved") == [1, 0]
    assert world.count("pointsman_tokens_total", tenant="acme", kind="completion") == 16


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_asks_for_log_probabilities_keeps_them(world, stream):
    lanes = with_cascade(world)

    response = await world.post(
        CHAT, ask("a hard sure one", stream=stream, logprobs=True, top_logprobs=2), key="acme"
    )

    assert response.text.count('"logprob":-0.05') == 8
    assert lanes.opened[0][2]["top_logprobs"] == 2
    assert outcomes(world, "sure") == [1]


async def test_a_request_outside_the_band_is_not_held(world):
    """Nor is anything asked of its engine."""
    lanes = with_cascade(world)

    for body in (
        ask("easy [unsure]"),
        ask(model="chat"),
        ask(n=2),
        ask(response_format={"type": "json_object"}),
        ask(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {
            "url": "data:image/png;base64,AAAA"}}, {"type": "text", "text": "a hard one"}]}]),
        ask(tools=[{"type": "function", "function": {"name": "f"}}], tool_choice="required"),
    ):  # fmt: skip
        await world.post(CHAT, body, key="acme")

    assert lanes_asked(lanes) == ["small"] * 6
    assert not any("logprobs" in body for _, _, body in lanes.opened)
    assert stage(world).status()["held_share"] == 0


async def test_a_request_that_the_engine_has_to_refuse_is_not_made_a_good_one(world):
    lanes = with_cascade(world)

    await world.post(CHAT, ask(top_logprobs=2), key="acme")

    assert "logprobs" not in lanes.opened[0][2]


async def test_other_apis_are_not_held(world):
    lanes = with_cascade(world)
    message = {"messages": ask()["messages"], "max_tokens": 4}

    await world.post("/v1/messages", message, key="acme")
    await world.post("/v1/responses", {"input": "a hard one [unsure]"}, key="acme")
    await world.post("/v1/completions", {"prompt": "a hard one [unsure]"}, key="acme")

    assert lanes_asked(lanes) == ["small"] * 3
    assert not any("logprobs" in body for _, _, body in lanes.opened)


async def test_without_a_cascade_nobody_is_held(world):
    lanes = SimulatedLanes()
    world.use(lanes)

    await world.post(CHAT, ask("[unsure]"), key="acme")

    assert "logprobs" not in lanes.opened[0][2]
    assert "pointsman_cascade_holds_total{" not in world.metrics.render()


async def test_a_lost_replica_is_retried_as_ever(world):
    """Nothing of it was told: the next replica begins, and is held too."""
    lanes = with_cascade(world, lanes=SimulatedLanes(cuts=[Break(2), None]))

    response = await world.post(CHAT, ask("a hard sure one"), key="acme")

    assert [replica for replica, _, _ in lanes.opened] == ["r1", "r2"]
    assert all(body["logprobs"] for _, _, body in lanes.opened)
    assert response.headers["x-pointsman-lane"] == "chat" and "logprob" not in text_of(response)
    assert '"logprobs":{' not in response.text
    assert outcomes(world, "sure") == [1]
    assert world.count("pointsman_stream_recoveries_total", outcome="retried") == 1


@pytest.mark.parametrize("more", [{}, {"presence_penalty": 0.5}])
async def test_a_stream_that_was_held_is_resumed_without_log_probabilities(world, more):
    """From token ids, and where it has to be asked for again."""
    body = ask("a hard sure one", **more)
    plain = with_cascade(world)
    undisturbed = await world.post(CHAT, body, key="acme")
    assert len(plain.opened) == 1

    lanes = with_cascade(world, lanes=SimulatedLanes(cuts=[Break(6)]))
    response = await world.post(CHAT, body, key="acme")

    assert len(lanes.opened) == 2 and "logprobs" not in lanes.opened[1][2]
    assert text_of(response) == text_of(undisturbed)
    assert '"logprobs":{' not in response.text
    assert response.text.count("data: [DONE]") == 1


async def test_a_full_stronger_lane_is_not_waited_for(world):
    """It has one slot, and that is taken."""
    quality = {**FLEET["lanes"]["quality"], "engine_args": {"max_num_seqs": 1}}
    fleet = {"lanes": {**FLEET["lanes"], "quality": quality}}
    lanes = with_cascade(world, fleet=fleet)
    tenant = world.state.policies.auth.tenant("acme")
    taken = world.state.admission.take("quality", tenant, 1, 10, 10)

    response = await world.post(CHAT, ask(), key="acme")

    assert response.headers["x-pointsman-lane"] == "chat" and '"logprobs":{' not in response.text
    assert lanes_asked(lanes) == ["small"]
    assert outcomes(world, "no_room", "moved") == [1, 0]
    taken.leave()
    assert (await world.post(CHAT, ask(), key="acme")).headers["x-pointsman-lane"] == "quality"
    assert world.state.admission.status()["quality"]["used"] == 0


async def test_moves_are_paid_from_the_share(world):
    """One is saved up at the start; the second in a row is not even held."""
    lanes = with_cascade(world)

    for text in ("a hard one [unsure]", "another hard one [unsure]"):
        await world.post(CHAT, ask(text), key="acme")

    assert lanes_asked(lanes) == ["small", "large", "small"]
    assert "logprobs" not in lanes.opened[2][2]
    told = world.state.escalation.status()["quality"]
    assert told["share"] == pytest.approx(1 / 500)
    assert stage(world).status()["moved_share"] == pytest.approx(0.001, rel=0.01)


async def test_the_budget_may_be_spent_while_a_request_is_held(world):
    """Two are held at once, and one may move."""
    with_cascade(world)

    found = await asyncio.gather(*(world.post(CHAT, ask(), key="acme") for _ in range(2)))

    assert sorted(one.headers["x-pointsman-lane"] for one in found) == ["chat", "quality"]
    assert outcomes(world, "moved", "no_budget") == [1, 1]
    assert all('"logprobs":{' not in one.text for one in found)


async def test_a_tenant_without_a_budget_is_not_held(world):
    """`guest` may use no other lane."""
    lanes = with_cascade(world)

    await world.post(CHAT, ask(max_tokens=4), key="guest")

    assert "logprobs" not in lanes.opened[0][2]


async def test_the_conversation_stays_on_the_stronger_lane(world):
    """For `sticky_turns`, the moved one included, and paid for as ever."""
    lanes = with_cascade(world)
    turns, reasons = [], []
    for text in ("a hard one [unsure]", "easy", "easy too", "and so on"):
        turns.append({"role": "user", "content": text})
        response = await world.post(
            CHAT, ask(messages=turns, stream=False), key="acme", headers={"x-session-id": "s"}
        )
        turns.append({"role": "assistant", "content": text_of(response)})
        reasons.append(response.headers["x-pointsman-reason"])

    assert reasons == ["cascade", "sticky", "sticky", "default"]
    assert lanes_asked(lanes) == ["small", "large", "large", "large", "small"]


async def test_the_steps_of_a_moved_turn_stay_there(world):
    """The session has another turn than that one in the next request's place."""
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    lanes = with_cascade(world)
    first = ask(tools=tools, stream=False)
    await world.post(CHAT, first, key="acme", headers={"x-session-id": "s"})
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    step = {
        **first,
        "messages": [
            *first["messages"],
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "42"},
        ],
    }

    response = await world.post(CHAT, step, key="acme", headers={"x-session-id": "s"})

    assert response.headers["x-pointsman-reason"] == "sticky"
    assert lanes_asked(lanes) == ["small", "large", "large"]


async def test_a_stronger_lane_that_is_lost_leaves_the_answer_to_the_first(world):
    """Its own lane is asked again, without a hold."""

    class Lost(SimulatedLanes):
        async def choose(self, lane, session_key, avoid=frozenset()):
            if lane == "quality":
                raise NoReplica(lane)
            return await super().choose(lane, session_key, avoid)

    lanes = with_cascade(world, lanes=Lost())

    response = await world.post(CHAT, ask(), key="acme", headers={"x-session-id": "s"})

    assert response.status_code == 200 and response.headers["x-pointsman-lane"] == "chat"
    assert [bool(body.get("logprobs")) for _, _, body in lanes.opened] == [True, False]
    assert outcomes(world, "moved", "failed") == [1, 1]
    assert len(stage(world)._moved) == 0
    assert (world.reserved(), world.in_flight) == (0, 0)
    assert not world.state.presence.active()


# -- what an engine may say, by hand ------------------------------------------------------


def chunk(text="a", logprob=-3.0, **more):
    told = {"content": [{"token": text, "logprob": logprob, "bytes": [97], "top_logprobs": []}]}
    choice = {"index": 0, "delta": {"content": text}, "logprobs": told, "finish_reason": None}
    data = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "small"}
    dumped = json.dumps({**data, "choices": [{**choice, **more}]}, separators=(",", ":"))
    return f"data: {dumped}\n\n".encode()


ROLE = chunk("", delta={"role": "assistant", "content": ""}, logprobs=None)
END = chunk("", delta={}, logprobs=None, finish_reason="stop") + b"data: [DONE]\n\n"
WHOLE = ROLE + chunk("b", -0.01) + END


def answers(world, stream, *parts, **cascade):
    world.lanes.answers = [stream(*one) for one in parts]
    made = list(world.lanes.answers)
    with_cascade(world, lanes=world.lanes, **cascade)
    return made


async def test_a_slow_lane_is_held_no_longer_than_it_may(world, stream):
    """One token is there when the time is over."""
    first, second = answers(
        world, stream, [ROLE + chunk(), asyncio.Event(), END], [WHOLE], hold_s=0.001
    )

    response = await world.post(CHAT, ask(), key="acme")

    assert response.headers["x-pointsman-lane"] == "quality"
    assert first.is_closed and second.is_closed


async def test_the_time_begins_with_the_first_token(world, stream):
    """A long prompt is no reason to look at nothing."""
    waits = asyncio.Event()
    first, _ = answers(world, stream, [ROLE, waits, chunk() * 3, END], [WHOLE], hold_s=0.001)

    posted = asyncio.ensure_future(world.post(CHAT, ask(), key="acme"))
    await first.waits.wait()
    waits.set()

    assert (await posted).headers["x-pointsman-reason"] == "cascade"


async def test_an_answer_that_is_short_is_judged_by_what_it_has(world, stream):
    answers(world, stream, [ROLE + chunk(finish_reason="stop") + b"data: [DONE]\n\n"], [WHOLE])

    assert (await world.post(CHAT, ask(), key="acme")).headers["x-pointsman-lane"] == "quality"


@pytest.mark.parametrize(
    "said",
    [
        ROLE + chunk(logprobs=None) * 9 + END,
        ROLE + chunk(logprobs={"content": None}) + END,
        ROLE + chunk(logprobs={"content": [{"token": "a"}]}, finish_reason="stop") + END,
        b": a comment\n\n" + ROLE + END,
    ],
)
async def test_an_engine_that_tells_nothing_answers(world, stream, said):
    answers(world, stream, [said])

    response = await world.post(CHAT, ask(), key="acme")

    assert response.status_code == 200 and response.headers["x-pointsman-lane"] == "chat"
    assert outcomes(world, "unknown") == [1]


async def test_an_engine_that_does_not_like_the_question_is_asked_without_it(world, stream, engine):
    refused = engine({"error": {"message": "no logprobs", "code": 400}}, status=400)
    world.lanes.answers = [refused, stream(WHOLE)]
    with_cascade(world, lanes=world.lanes)

    response = await world.post(CHAT, ask(), key="acme")

    assert response.status_code == 200 and response.headers["x-pointsman-lane"] == "chat"
    assert [one.body.get("logprobs") for one in world.lanes.opened] == [True, None]
    assert outcomes(world, "unknown") == [1]


async def test_it_may_say_so_in_a_stream_that_has_begun(world, stream):
    """vLLM looks at sampling parameters then."""
    no = b'data: {"error": {"message": "no logprobs", "code": 400}}\n\ndata: [DONE]\n\n'
    answers(world, stream, [no], [WHOLE])

    response = await world.post(CHAT, ask(), key="acme")

    assert response.status_code == 200 and text_of(response) == "b"
    assert [one.body.get("logprobs") for one in world.lanes.opened] == [True, None]


async def test_a_bad_request_is_refused_as_ever(world, engine):
    wrong = {"error": {"message": "no", "code": 400}}
    world.lanes.answers = [engine(wrong, status=400), engine(wrong, status=400)]
    with_cascade(world, lanes=world.lanes)

    response = await world.post(CHAT, ask(), key="acme")

    assert response.status_code == 400 and world.reserved() == 0


async def test_a_replica_that_breaks_off_while_held_is_retried(world, stream):
    """What it had said does not count."""
    answers(world, stream, [ROLE + chunk() * 2, BrokenConnection("x")],
            [ROLE + chunk("b", -0.01) * 3 + END])  # fmt: skip

    response = await world.post(CHAT, ask(), key="acme")

    assert response.headers["x-pointsman-lane"] == "chat" and text_of(response) == "bbb"
    assert outcomes(world, "sure") == [1]


async def test_a_client_that_leaves_while_held_leaves_nothing(world, stream, call_raw):
    """The engine's answer is closed, and the request is counted as scored."""
    (first,) = answers(world, stream, [ROLE + chunk(), asyncio.Event()], hold_s=5)
    body = json.dumps(ask()).encode()
    messages = [{"type": "http.request", "body": body}]
    headers = [(b"authorization", f"Bearer {world.keys['acme']}".encode())]
    running = asyncio.ensure_future(
        call_raw(world.gateway, messages, path=CHAT, headers=headers, query_string=b"")
    )
    await first.waits.wait()
    running.cancel()
    await running

    assert first.is_closed and (world.reserved(), world.in_flight) == (0, 0)
    assert outcomes(world, "unasked") == [1]
    assert stage(world).status()["held_share"] > 0


async def test_a_client_that_was_told_its_lane_stays_there(world, stream):
    """The keep-alive has sent the head while the lane read a long prompt."""
    waits = asyncio.Event()
    answers(world, stream, [ROLE, waits, chunk() * 4 + END])
    with_keepalive(world, 0.01)

    listener = Listener(world, ask())
    await listener.comments(1)
    waits.set()
    await listener.end()

    assert listener.headers["x-pointsman-lane"] == "chat"
    assert outcomes(world, "late") == [1]


async def test_a_whole_answer_that_took_long_stays(world, engine):
    """To ask again would double the wait."""
    with_cascade(world, lanes=world.lanes, whole_s=1e-9)
    body = {"choices": [{"logprobs": {"content": [{"token": "a", "logprob": -9}]}}]}
    world.lanes.answers = [engine(body)]

    response = await world.post(CHAT, ask(stream=False), key="acme")

    assert response.headers["x-pointsman-lane"] == "chat"
    assert response.json()["choices"] == [{"logprobs": None}]
    assert outcomes(world, "late") == [1]


async def test_whole_answers_may_be_left_alone(world, engine):
    with_cascade(world, lanes=world.lanes, whole_s=0)
    world.lanes.answers = [engine()]

    await world.post(CHAT, ask(stream=False), key="acme")

    assert "logprobs" not in world.lanes.opened[0].body


@pytest.mark.parametrize("answer", [b"[]", b"nonsense", b'{"choices": []}'])
async def test_a_whole_answer_that_is_none_is_passed_on(world, answer):
    with_cascade(world, lanes=world.lanes)
    world.lanes.answers = [FakeResponse(answer)]

    response = await world.post(CHAT, ask(stream=False), key="acme")

    assert response.content == answer and outcomes(world, "unknown") == [1]


async def test_a_refused_request_counts_as_scored(world):
    """It never came to an engine."""
    with_cascade(world, lanes=world.lanes)
    world.lanes.empty = True

    response = await world.post(CHAT, ask(), key="acme")

    assert response.status_code == 503
    assert outcomes(world, "unasked") == [1]


async def test_usage_and_traces_are_of_the_lane_that_answered(world):
    """The meter has one request, of the stronger lane; its trace has the signals."""
    from serve_app.pipeline.trace_keeping import trace_from
    from serve_app.records.request_record import record_of

    seen = []
    with_cascade(world)
    settlement = world.pipeline._settlement
    settle = settlement.settle
    settlement.settle = lambda call: (settle(call), seen.append(call))

    await world.post(CHAT, ask(), key="acme")

    trace = trace_from(record_of(seen[0], 0.1), seen[0])
    assert (trace.lane, trace.reason) == ("quality", "cascade")
    assert trace.signals["logprob"] == [-2.5] * 3 and trace.signals["outcome"] == "moved"
    assert (trace.signals["uncertainty"], trace.signals["draft_tokens"]) == (2.5, 3)
    spanned = call_attributes(seen[0])
    assert spanned["pointsman.cascade.outcome"] == "moved"
    assert spanned["pointsman.cascade.uncertainty"] == 2.5
    assert world.meter.try_flush()
    used = world.tenancy.usage("2000-01-01", "2100-01-01")
    assert {slot.lane: counts.completion for slot, counts in used.items()} == {"quality": 8}
    assert sum(counts.requests for counts in used.values()) == 1


async def test_a_reload_changes_who_is_unsure(world):
    """The shares go on."""
    with_cascade(world)
    policies = world.state.policies
    cascade = policies.fleet.routing.cascade.model_copy(update={"uncertainty": 5.0})
    routing = policies.fleet.routing.model_copy(update={"cascade": cascade})
    fleet = policies.fleet.model_copy(update={"routing": routing})
    world.state.apply(dataclasses.replace(policies, fleet=fleet))

    response = await world.post(CHAT, ask(), key="acme", headers={"x-pointsman-debug": "1"})

    assert response.headers["x-pointsman-lane"] == "chat"
    assert response.headers["x-pointsman-uncertainty"] == "2.5000"
