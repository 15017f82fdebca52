"""Streams whose replica is lost: compared with the run that nothing disturbed."""

import asyncio
import contextlib
import dataclasses
import json

import pytest

from serve_app.bodies.parsed_request import parse
from serve_app.bodies.routes import ROUTES
from serve_app.config.serving import RecoveryConfig
from serve_app.relay.resumption import held_chars
from serve_app.transport.upstream import SilentConnection
from tests.unit.router.recovery.ejections import is_ejected
from tests.unit.serve_app.simulated_lanes import Break, SimulatedLanes

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
GREEDY = {"temperature": 0, "stream": True, "stream_options": {"include_usage": True}}
ASK = {"messages": [{"role": "user", "content": "Tell me."}], "max_tokens": 10, **GREEDY}
TEXT_ASK = {"prompt": "Once upon", "max_tokens": 10, **GREEDY}


@pytest.fixture
def recover(world):
    """Posts a body over simulated lanes that break as told; returns the lanes too."""

    async def post(path, body, *cuts, key="acme", **kwargs):
        lanes = SimulatedLanes(cuts=list(cuts), **kwargs)
        world.use(lanes)
        return await world.post(path, body, key=key), lanes

    return post


def data_of(event):
    return json.loads(event.partition("data: ")[2])


def with_fleet(world, **changes) -> None:
    """The world with another fleet file."""
    policies = world.state.policies
    fleet = policies.fleet.model_copy(update=changes)
    world.state.apply(dataclasses.replace(policies, fleet=fleet))


class Read:
    """A stream as a client reads it."""

    def __init__(self, response) -> None:
        self.raw = response.text
        events = [e for e in self.raw.split("\n\n") if e]
        self.dones = events.count("data: [DONE]")
        self.data = [json.loads(e[6:]) for e in events if e.startswith("data: {")]
        self.error = next((d["error"] for d in self.data if "error" in d), None)
        chunks = [d for d in self.data if "error" not in d]
        self.heads = {(d["id"], d["object"], d["created"], d["model"]) for d in chunks}
        choices = [c for d in chunks for c in d["choices"]]
        deltas = [c.get("delta", {}) for c in choices]
        self.roles = [d["role"] for d in deltas if d.get("role")]
        self.text = "".join(
            c.get("text") or c.get("delta", {}).get("content") or "" for c in choices
        )
        self.ids = [i for c in choices for i in c.get("token_ids") or ()]
        self.finishes = [c["finish_reason"] for c in choices if c.get("finish_reason")]
        self.stop_reasons = [c["stop_reason"] for c in choices if c.get("stop_reason")]
        usages = [d["usage"] for d in chunks if d.get("usage") and not d["choices"]]
        self.usage = usages[-1] if usages else None

    def is_like(self, other) -> bool:
        same = ("text", "roles", "finishes", "stop_reasons", "dones", "error")
        counts = ("prompt_tokens", "completion_tokens", "total_tokens")
        return (
            all(getattr(self, name) == getattr(other, name) for name in same)
            and len(self.heads) == 1
            and [self.usage[n] for n in counts] == [other.usage[n] for n in counts]
        )


def one_token_events(body):
    return {**body, "max_tokens": 6}


@pytest.mark.parametrize(("path", "body"), [(CHAT, ASK), (COMPLETIONS, TEXT_ASK)])
@pytest.mark.parametrize("extra_bytes", [0, 30])
async def test_a_cut_at_any_event_is_not_seen(world, recover, path, body, extra_bytes):
    """Text, finish, usage, ids of chunks: as if nothing had happened."""
    undisturbed, _ = await recover(path, one_token_events(body))
    expected = Read(undisturbed)
    positions = len(expected.data) + 1

    for events in range(positions):
        cut = Break(events, extra_bytes if events < positions - 1 else 0)
        response, lanes = await recover(path, one_token_events(body), cut)

        read = Read(response)
        assert read.is_like(expected), (events, read.raw)
        assert len({replica for replica, _, _ in lanes.opened}) == len(lanes.opened)
    assert (world.reserved(), world.in_flight) == (0, 0)
    assert world.count("pointsman_stream_recoveries_total", outcome="failed") == 0
    assert world.count("pointsman_stream_recoveries_total", outcome="resumed") >= 4


@pytest.mark.parametrize(("path", "body"), [(CHAT, ASK), (COMPLETIONS, TEXT_ASK)])
@pytest.mark.parametrize("chunk_bytes", [None, 7, 1000])
@pytest.mark.parametrize("key", ["acme", "slow"])
async def test_merged_events_and_any_chunks_are_cut_right_too(
    recover, path, body, chunk_bytes, key
):
    """Several tokens an event: their text is asked for. Two cuts in one stream."""
    undisturbed, _ = await recover(path, body, key=key, step=3)

    for events in range(1, 4):
        cuts = (Break(events), Break(1))
        response, lanes = await recover(path, body, *cuts, key=key, step=3, chunk_bytes=chunk_bytes)

        assert Read(response).is_like(Read(undisturbed)), (events, response.text)
        assert len(lanes.opened) >= 2


@pytest.mark.usefixtures("both_ways")
async def test_two_cuts_in_one_stream_are_not_seen(recover):
    """The second replica's loss is like the first's; the third goes on."""
    undisturbed, _ = await recover(CHAT, ASK)

    response, lanes = await recover(CHAT, ASK, Break(4), Break(3))

    assert Read(response).is_like(Read(undisturbed))
    assert [replica for replica, _, _ in lanes.opened][:2] == ["r1", "r2"]
    assert [path for _, path, _ in lanes.opened] == [CHAT, COMPLETIONS, COMPLETIONS]


async def test_the_resumed_request_asks_for_the_rest_only(recover):
    """Limits, least length and seed count from the answer's start."""
    body = {**ASK, "temperature": 1, "seed": 5, "min_tokens": 8, "top_p": 0.5}

    _, lanes = await recover(CHAT, body, Break(4))

    _, path, asked = lanes.opened[1]
    first = lanes.opened[0][2]
    assert path == COMPLETIONS
    # The role and three tokens were delivered.
    assert (asked["max_tokens"], asked["min_tokens"], asked["top_p"]) == (7, 5, 0.5)
    assert asked["seed"] != 5
    assert (asked["cache_salt"], asked["model"]) == (first["cache_salt"], "small")
    assert first["return_token_ids"] is True


async def test_an_answer_without_a_limit_goes_on_to_the_window_s_end(recover):
    """The completions route would stop at 16 tokens."""
    body = {**ASK, "max_tokens": None}

    _, lanes = await recover(CHAT, {k: v for k, v in body.items() if v is not None}, Break(4))

    prompt = lanes.opened[1][2]["prompt"]
    assert lanes.opened[1][2]["max_tokens"] == 4096 - len(prompt)


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("asks", [False, True])
async def test_token_ids_are_shown_to_those_who_asked(recover, asks):
    """They are asked for of the engine in any case."""
    body = {**ASK, "return_token_ids": True} if asks else ASK
    undisturbed, _ = await recover(CHAT, body)

    response, _ = await recover(CHAT, body, Break(5))

    assert Read(response).ids == Read(undisturbed).ids
    assert bool(Read(response).ids) is asks
    assert ('"prompt_token_ids":[' in response.text) is asks


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("step", [1, 3])
async def test_a_stop_string_across_the_cut_ends_the_answer(recover, step):
    """The second engine never sees its beginning."""
    free, _ = await recover(CHAT, {**ASK, "max_tokens": 16})
    words = Read(free).text.split(" ")
    # It begins in the fifth word and ends in the sixth.
    stop = words[4][-2:] + " " + words[5][:3]
    body = {**ASK, "max_tokens": 16, "stop": ["never", stop]}
    undisturbed, _ = await recover(CHAT, body)
    expected = Read(undisturbed)
    assert expected.stop_reasons == [stop]

    for events in range(1, len(expected.data) + 1):
        response, lanes = await recover(CHAT, body, Break(events), step=step)

        assert Read(response).is_like(expected), (events, response.text)
    assert all(answer.is_closed for answer in lanes.answers)


async def test_usage_that_was_not_asked_for_stays_hidden(recover, world):
    """The tenant is charged for both parts once."""
    body = {k: v for k, v in ASK.items() if k != "stream_options"}

    response, _ = await recover(CHAT, body, Break(5))

    assert Read(response).usage is None and Read(response).dones == 1
    assert world.count("pointsman_tokens_total", tenant="acme", kind="completion") == 10
    assert world.count("pointsman_requests_total", lane="chat", reason="default", tier="paid",
                       code="200") == 1  # fmt: skip


@pytest.mark.parametrize(
    "extra",
    [
        {"n": 2},
        {"logprobs": True},
        {"presence_penalty": 0.5, "return_token_ids": True},
    ],
    ids=["n", "logprobs", "ids"],
)
async def test_what_cannot_go_on_ends_with_one_error_event(recover, world, extra):
    """The code says that a retry is safe; nothing is asked of another replica."""
    response, lanes = await recover(CHAT, {**ASK, **extra}, Break(4))

    read = Read(response)
    assert (read.error["code"], read.dones) == ("no_replica", 0)
    assert len(lanes.opened) == 1
    assert world.count("pointsman_stream_recoveries_total", outcome="failed") == 1
    assert (world.reserved(), world.in_flight) == (0, 0)


@pytest.mark.parametrize(
    "extra",
    [
        {"presence_penalty": 0.5},
        {"frequency_penalty": 0.5},
        {"response_format": {"type": "json_object"}},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
         "tool_choice": "required"},
        {"bad_words": ["no"]},
    ],
    ids=["presence", "frequency", "json", "tool", "history"],
)  # fmt: skip
async def test_what_cannot_go_on_is_asked_again_and_not_shown_twice(recover, world, extra):
    """The same request, of which the client gets what it has not."""
    undisturbed, _ = await recover(CHAT, {**ASK, **extra})

    response, lanes = await recover(CHAT, {**ASK, **extra}, Break(4))

    assert Read(response).is_like(Read(undisturbed))
    assert lanes.opened[1][2] == lanes.opened[0][2]
    assert world.count("pointsman_stream_recoveries_total", outcome="resumed") == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/messages", {"messages": ASK["messages"], "max_tokens": 10, "stream": True}),
        ("/v1/responses", {"input": "Tell me.", "max_output_tokens": 10, "stream": True}),
    ],
)
async def test_other_dialects_are_retried_until_their_first_words(recover, path, body):
    """Lines before the first of the answer wait for it; after it they are asked again."""
    preamble = 2 if path.endswith("messages") else 4
    whole, _ = await recover(path, body)

    for events in range(preamble + 1):
        early, lanes = await recover(path, body, Break(events))
        assert len(lanes.opened) == 2
        assert early.text.count("\n\n") == whole.text.count("\n\n")
    late, lanes = await recover(path, body, Break(preamble + 2), Break(preamble), Break(1))

    assert len(lanes.opened) == 3
    *events, last = late.text.split("\n\n")[:-1]
    assert last.startswith("event: error\n")
    if path.endswith("responses"):
        assert [data_of(event)["sequence_number"] for event in (*events, last)] == list(
            range(len(events) + 1)
        )


@pytest.mark.parametrize("trims", [False, True])
async def test_an_answer_beside_tools_goes_on_from_its_text_where_the_template_keeps_it(
    recover, world, trims
):
    """A tool parser stands between tokens and text; a trimming template rules it out."""
    lanes = world.state.policies.fleet.lanes
    kept = lanes["chat"].model_copy(update={"keeps_whitespace": not trims})
    with_fleet(world, lanes={**lanes, "chat": kept})
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    body = {**ASK, "tools": tools}
    undisturbed, _ = await recover(CHAT, body, trims=trims)

    response, lanes = await recover(CHAT, body, Break(5), trims=trims)

    assert Read(response).is_like(Read(undisturbed))
    goes_on = lanes.opened[1][2].get("continue_final_message", False)
    assert goes_on is not trims


async def test_by_token_ids_a_trimming_template_does_not_matter(recover):
    """The template was applied once, by the first engine."""
    undisturbed, _ = await recover(CHAT, ASK, trims=True)

    response, _ = await recover(CHAT, ASK, Break(4), trims=True)

    assert Read(response).is_like(Read(undisturbed))


async def test_tokens_whose_text_cannot_be_told_end_the_stream(recover):
    """Better an error than a repeated word."""
    response, _ = await recover(CHAT, ASK, Break(3), step=3, detokenizes=False)

    assert Read(response).error["code"] == "no_replica"


async def test_a_silence_in_a_stream_is_a_fault_like_any_other(recover):
    """The stream goes on elsewhere."""
    undisturbed, _ = await recover(CHAT, ASK)

    response, _ = await recover(CHAT, ASK, Break(5, how=SilentConnection()))

    assert Read(response).is_like(Read(undisturbed))


async def test_a_whole_answer_whose_replica_dies_is_asked_for_again(recover):
    """Nothing was sent, so nothing is seen."""
    body = {"messages": ASK["messages"], "max_tokens": 5, "temperature": 0}
    undisturbed, _ = await recover(CHAT, body)

    response, lanes = await recover(CHAT, body, Break(0, 20))

    assert response.json()["choices"][0]["message"] == (undisturbed.json()["choices"][0]["message"])
    assert [replica for replica, _, _ in lanes.opened] == ["r1", "r2"]


async def test_replicas_that_are_gone_are_left_alone_by_the_next_request(world):
    """The breaker spares the second request the attempt."""
    lanes = SimulatedLanes(dead={"r1"})
    world.use(lanes)
    breakers = world.fault_book.breakers("chat")
    for replica in ("r2", "r3"):
        breakers.note_success(replica, now=0.0)

    first = await world.post(CHAT, ASK, key="acme")
    lanes.dead = set()
    second = await world.post(CHAT, ASK, key="acme")

    assert first.status_code == second.status_code == 200
    assert [replica for replica, _, _ in lanes.opened] == ["r2", "r2"]
    assert world.pipeline.book.ejected() == {"chat": ["r1"]}
    assert world.count("pointsman_breakers_opened_total", lane="chat") == 1


async def test_the_last_replica_is_never_said_to_be_left_alone(world):
    """Of one replica half is none: its breaker opens, and it is used all the same."""
    book = world.fault_book

    book.tell_breaker("chat", "r1", "acme", is_gone=True)

    assert is_ejected(book.breakers("chat"), "r1")
    assert world.pipeline.book.ejected() == {}
    assert world.count("pointsman_breakers_opened_total", lane="chat") == 1


async def test_a_dying_fleet_is_not_hammered(world):
    """Past the budget a fault is final, and says so at once."""
    poor = {"retry_burst": 2, "retry_floor_per_s": 0, "retry_share": 0}
    with_fleet(world, recovery=RecoveryConfig(**poor))
    lanes = SimulatedLanes(cuts=[Break(0) for _ in range(9)])
    world.use(lanes)

    asks = [{**ASK, "max_tokens": 10 + i} for i in range(4)]
    statuses = [(await world.post(CHAT, ask, key="acme")).status_code for ask in asks]

    # The first two were tried twice, and are told to wait; the others had no second try.
    assert statuses == [429, 429, 503, 503]
    assert len(lanes.opened) == 4 + 2


async def test_a_client_that_leaves_during_recovery_settles_and_frees_the_engine(world):
    """Between the fault and the other replica's first token."""
    lanes = SimulatedLanes(cuts=[Break(4)])
    world.use(lanes)
    reached = asyncio.Event()
    choose = lanes.choose

    async def stall(lane, session_key, avoid=frozenset()):
        if avoid:
            reached.set()
            await asyncio.Event().wait()
        return await choose(lane, session_key, avoid)

    lanes.choose = stall
    task = asyncio.create_task(world.post(CHAT, ASK, key="acme"))
    await reached.wait()

    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

    assert (world.reserved(), world.in_flight) == (0, 0)
    assert all(answer.is_closed for answer in lanes.answers)
    assert world.count("pointsman_requests_total", lane="chat", reason="default", tier="paid",
                       code="499") == 1  # fmt: skip


async def test_a_bad_request_is_never_tried_twice(recover):
    """The engines agree about it."""
    long = {"messages": [{"role": "user", "content": "word " * 4_500}]}
    response, lanes = await recover(CHAT, {**ASK, **long})

    assert response.status_code == 400
    assert len(lanes.opened) == 1


async def test_a_long_stream_s_events_are_condensed_on_the_way(recover, monkeypatch):
    """What is kept of a stream does not grow with its events' bytes."""
    monkeypatch.setattr("serve_app.relay.transcript.MAX_RAW_BYTES", 500)
    body = {**ASK, "max_tokens": 40}
    undisturbed, _ = await recover(CHAT, body)

    response, _ = await recover(CHAT, body, Break(30), Break(4))

    assert Read(response).is_like(Read(undisturbed))


async def test_a_silence_before_the_first_event_is_a_504_and_not_retried(world, stream):
    """The engine may send its head long before it has something to say."""
    world.lanes.answers = [stream(SilentConnection())]

    response = await world.post(CHAT, ASK, key="acme")

    assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert len(world.lanes.opened) == 1


async def test_an_engine_s_error_event_is_mended_like_a_lost_connection(world, stream):
    """Unless it blames the request: another replica would say the same, and so do we."""
    fault = (
        b'data: {"error":{"message":"stop cannot contain an empty string.",'
        b'"type":"BadRequestError","code":%d}}\n\n'
    )
    answer = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"a"}}]}\n\ndata: [DONE]\n\n'

    world.lanes.answers = [stream(fault % 500), stream(answer)]
    mended = await world.post(CHAT, ASK, key="acme")
    world.lanes.answers = [stream(fault % 400)]
    refused = await world.post(CHAT, ASK, key="acme")

    assert mended.content == answer
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["message"]) == (
        400,
        "invalid_request",
        "stop cannot contain an empty string.",
    )
    assert len(world.lanes.opened) == 3


async def test_a_stream_without_its_end_mark_is_not_whole(world, stream):
    """An engine that is shut down ends its answers politely."""
    head = b'data: {"id":"c","object":"x","created":1,"model":"m",'
    chunk = head + b'"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
    world.lanes.answers = [stream(chunk)]

    response = await world.post(CHAT, ASK, key="acme")

    assert Read(response).error["code"] == "no_replica"


@pytest.mark.parametrize(
    ("parser", "extra", "chars"),
    [
        (None, {}, 0),
        ("hermes", {"stop": ["1234", "1"]}, 3),
        ("hermes", {"stop": "1234", "include_stop_str_in_output": True}, 0),
        ("qwen3_xml", {}, 32),
    ],
)
def test_what_an_engine_may_keep_back_depends_on_stop_strings_and_parsers(
    world, parser, extra, chars
):
    """Parsers of the older kind pass text on where no tool is offered."""
    lane = world.state.policies.fleet.lanes["chat"]
    lane = lane.model_copy(update={"engine_args": {"tool_call_parser": parser}})
    parsed = parse(json.dumps({**ASK, **extra}).encode(), ROUTES[CHAT])

    assert held_chars(parsed, lane) == chars
