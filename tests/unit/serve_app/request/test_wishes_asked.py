"""What engines are asked for, and what is charged of answers as they grow."""

import asyncio
import json
import time

import pytest

from serve_app.config.fleet import FleetConfig
from serve_app.routing.policies import build_policies
from tests.unit.serve_app.conftest import FLEET, FakeScorer, with_tier
from tests.unit.serve_app.request.test_wishes import CHAT, DONE, HI, SHORT, TOKEN, per_minute

TOO_LONG = (
    "This model's maximum context length is 4096 tokens. However, you requested 3000 output tokens"
)


def left(world) -> float:
    """Tokens of the tenant's minute, debts with their sign."""
    ceiling = world.state.ceiling(world.state.policies.auth.tenant("acme"))
    return ceiling.tokens.level(now=time.monotonic())


@pytest.mark.parametrize("wish", [3_500, 4_096, 32_000, 2_000_000])
@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/messages", "/v1/responses"])
async def test_short_answers_to_long_wishes_pass_one_after_another(world, engine, path, wish):
    """Whatever the ceiling is: it is settled by what was answered."""
    per_minute(world, 3_000)
    field = "max_output_tokens" if path == "/v1/responses" else "max_tokens"
    text = {CHAT: "messages", "/v1/messages": "messages", "/v1/completions": "prompt"}
    body = {text.get(path, "input"): HI if "messages" in text.get(path, "") else "Hi", field: wish}
    world.lanes.answers = [engine(SHORT) for _ in range(5)]

    codes = [(await world.post(path, body, key="acme")).status_code for _ in range(5)]

    assert codes == [200] * 5
    assert left(world) == pytest.approx(3_000 - 5 * 51, abs=60)


async def test_a_wish_is_no_reason_to_refuse_for_a_day(world, engine):
    """A quota holds half of what is left for it; who used all of it is refused."""
    with_tier(world, ceilings={"tokens_per_day": 1_000})
    world.lanes.answers = [engine(SHORT) for _ in range(30)]
    body = {"messages": HI, "max_tokens": 32_000}

    codes = [(await world.post(CHAT, body, key="acme")).status_code for _ in range(25)]

    # A request needs its prompt and a usual answer, some 300 tokens.
    served = codes.count(200)
    assert codes == [200] * served + [429] * (25 - served)
    assert 12 <= served <= 19


@pytest.mark.parametrize("wish", [20, 32_000])
async def test_the_lane_is_that_of_a_short_chat(world, engine, wish):
    """Also where there is a lane for long prompts; those go there."""
    lanes = {**FLEET["lanes"], "long": {**FLEET["lanes"]["chat"], "max_model_len": 65_536}}
    routing = {**FLEET["routing"], "long_context": "long"}
    fleet = FleetConfig.model_validate({**FLEET, "lanes": lanes, "routing": routing})
    policies = build_policies(fleet, world.tenants, FakeScorer(), lambda _: 0.5)
    world.state.apply(policies)
    prompts = {"hi": "Say hi.", "hard": "Hard: say it. hard", "long": "word " * 3_000}

    told = {
        name: (
            await world.post(
                "/v1/route",
                {"messages": [{"role": "user", "content": text}], "max_tokens": wish},
                key="acme",
            )
        ).json()
        for name, text in prompts.items()
    }

    assert {name: (x["lane"], x["reason"]) for name, x in told.items()} == {
        "hi": ("chat", "default"),
        "hard": ("quality", "complex"),
        "long": ("long", "long_context"),
    }


@pytest.mark.parametrize(
    ("path", "fields", "sent"),
    [
        (CHAT, {"max_tokens": 3_500}, {"max_tokens": 3_500}),
        (CHAT, {"max_tokens": 32_000}, {"max_tokens": "less"}),
        (CHAT, {"max_completion_tokens": 32_000, "max_tokens": 20},
         {"max_completion_tokens": "less", "max_tokens": 20}),
        (CHAT, {}, {}),
        ("/v1/messages", {"max_tokens": 32_000}, {"max_tokens": "less"}),
    ],
)  # fmt: skip
async def test_an_engine_is_asked_for_what_its_window_leaves(world, engine, path, fields, sent):
    """It would refuse more; what may fit reaches it as it came."""
    world.lanes.answers = [engine(SHORT)]

    answer = await world.post(path, {"messages": HI, **fields}, key="acme")

    assert answer.status_code == 200
    body = world.lanes.opened[0].body
    asked = {name: body[name] for name in ("max_tokens", "max_completion_tokens") if name in body}
    for name, value in sent.items():
        if value == "less":
            assert 3_800 < asked.pop(name) < 4_096 - 31
        else:
            assert asked.pop(name) == value
    assert asked == {}


def refusal(engine):
    return engine({"error": {"message": TOO_LONG, "type": "BadRequestError", "code": 400}}, 400)


async def test_an_engine_that_finds_it_too_long_is_asked_for_less(world, engine):
    """The estimate of the prompt was too low: the client does not hear of that."""
    world.lanes.answers = [refusal(engine), engine(SHORT)]

    answer = await world.post(CHAT, {"messages": HI, "max_tokens": 3_000}, key="acme")

    assert answer.status_code == 200
    assert [x.body["max_tokens"] for x in world.lanes.opened] == [3_000, 1_146]
    assert world.reserved() == 0


@pytest.mark.parametrize(("fields", "asks"), [({"max_tokens": 3_000}, 5), ({}, 1)])
async def test_what_no_engine_can_take_is_400(world, engine, fields, asks):
    """After four smaller asks, in the engine's words; without a wish, at once."""
    world.lanes.answers = [refusal(engine) for _ in range(5)]

    answer = await world.post(CHAT, {"messages": HI, **fields}, key="acme")

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert len(world.lanes.opened) == asks


async def test_another_fault_of_the_request_is_not_tried_again(world, engine):
    """A shorter answer mends nothing else."""
    world.lanes.answers = [engine({"error": {"message": "bad temperature", "code": 400}}, 400)]

    answer = await world.post(CHAT, {"messages": HI, "max_tokens": 3_000}, key="acme")

    assert (answer.status_code, len(world.lanes.opened)) == (400, 1)


async def test_a_stream_that_outgrows_its_charge_is_charged_as_it_goes(world, stream):
    """While it runs the others see what it has used; in the end it is what it is."""
    per_minute(world, 600)
    gate = asyncio.Event()
    running = stream(*[TOKEN] * 900, gate, DONE)
    world.lanes.answers = [running]
    body = {"messages": HI, "max_tokens": 3_500, "stream": True}
    asked = asyncio.ensure_future(world.post(CHAT, body, key="acme"))
    await running.waits.wait()

    assert -600 < left(world) < 600 - 900
    assert world.reserved() >= 900
    refused = await world.post(CHAT, {"messages": HI, "max_tokens": 5}, key="acme")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "token_rate")
    gate.set()
    assert (await asked).status_code == 200

    # No usage was told: what was passed on, and the estimate of the prompt.
    assert world.reserved() == 0
    assert left(world) == pytest.approx(600 - 900 - 35, abs=60)


async def test_a_stream_without_a_limit_per_minute_is_charged_nothing_more(world, stream):
    """There is nothing that it could be charged to."""
    with_tier(world, ceilings={"tokens_per_second": 100_000})
    gate = asyncio.Event()
    running = stream(*[TOKEN] * 900, gate, DONE)
    world.lanes.answers = [running]
    asked = asyncio.ensure_future(
        world.post(CHAT, {"messages": HI, "max_tokens": 20, "stream": True}, key="acme")
    )
    await running.waits.wait()
    reserved = world.reserved()
    gate.set()
    await asked

    assert reserved < 100


async def test_a_session_s_answers_end_where_the_session_may_not_grow(world, engine):
    """The wish is cut to what a session may hold; a prompt without room is refused."""
    with_tier(world, kv={"tokens_per_session": 200})
    world.lanes.answers = [engine(SHORT), engine(SHORT)]
    for copies in (1, 2):
        body = {"messages": HI, "max_tokens": 32_000, "n": copies}
        assert (await world.post(CHAT, body, key="acme")).status_code == 200
    first, second = (x.body["max_tokens"] for x in world.lanes.opened)

    assert 100 < first < 200
    assert second in (first // 2, (first + 1) // 2)
    full = {"messages": [{"role": "user", "content": "word " * 110}], "max_tokens": 32_000}
    answer = await world.post(CHAT, full, key="acme")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")


async def test_a_kv_budget_holds_what_may_become_resident(world, stream):
    """No more than the window has, whatever was wished; not a part of it either."""
    with_tier(world, kv={"tokens_per_tenant": 100_000})
    gate = asyncio.Event()
    running = stream(TOKEN, gate, DONE)
    world.lanes.answers = [running]
    body = {"messages": HI, "max_tokens": 32_000, "stream": True}
    asked = asyncio.ensure_future(world.post(CHAT, body, key="acme"))
    await running.waits.wait()
    held = world.state.admission.status()["chat"]["kv_tokens"]
    gate.set()
    await asked

    assert 3_900 < held <= 4_096


def ids(*tokens, text="x") -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "token_ids": list(tokens)}
    return b"data: " + json.dumps({"choices": [choice]}, separators=(",", ":")).encode() + b"\n\n"


async def test_tokens_are_paced_and_not_events(world, stream):
    """Thirty tokens in six events at a hundred a second; the last is due after 0.29 s."""
    with_tier(world, ceilings={"tokens_per_second": 100})
    role = b'data: {"choices":[{"delta":{"role":"assistant"}}],"prompt_token_ids":[1,2,3]}\n\n'
    events = [ids(*range(5)) for _ in range(6)]
    world.lanes.answers = [stream(role, b"".join(events[:3]), *events[3:], DONE)]

    begun = time.monotonic()
    answer = await world.post(CHAT, {"messages": HI, "stream": True}, key="acme")
    took = time.monotonic() - begun

    assert answer.text.count('"x"') == 6 and "[0,1" not in answer.text
    assert took >= 0.29
    pacer = world.state.ceiling(world.state.policies.auth.tenant("acme")).pacer
    assert pacer.booked in (30, 31)


async def test_what_came_unseen_is_owed_by_the_next(world, stream):
    """A parser kept a whole tool call back: the engine's count says how long it was."""
    with_tier(world, ceilings={"tokens_per_second": 100})
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":250}}\n\n'
    world.lanes.answers = [stream(TOKEN, usage, DONE)]
    body = {"messages": HI, "stream": True, "tools": [{"type": "function"}]}

    assert (await world.post(CHAT, body, key="acme")).status_code == 200
    refused = await world.post(CHAT, body, key="acme")

    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "token_rate")
