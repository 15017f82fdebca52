"""Requests through the whole pipeline, with tracing on: what engines, spans and logs are told."""

from __future__ import annotations

import json

import pytest

from serve_app.placement.lanes import UpstreamFault
from serve_app.transport.upstream import BrokenConnection
from tests.unit.serve_app.agents.answers import CHAT, MESSAGES, PATHS, Answer
from tests.unit.serve_app.agents.test_gate import BAD, GOOD
from tests.unit.serve_app.conftest import FakeResponse
from tests.unit.serve_app.relay.test_tool_repair import (
    UNWRITTEN,
    WRONG,
    answered,
    body,
    streamed,
)
from tests.unit.serve_app.tracing.calls import by_name, result, user

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CLIENT = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "v=1"}
HELLO = {"messages": [user("Hello")], "max_tokens": 7, "temperature": 0.5}


def span_of(spans):
    (span,) = by_name(spans, "chat")
    return span


async def test_an_engines_request_has_our_span_as_its_parent(traced, spans, engine):
    traced.lanes.answers = [engine()]

    await traced.post(CHAT, HELLO, key="acme", headers=CLIENT)

    span, sent = span_of(spans), traced.lanes.opened[0].headers
    assert sent["traceparent"] == f"00-{TRACE}-{span.context.span_id:016x}-01"
    assert sent["tracestate"] == "v=1"
    assert (span.context.trace, span.parent_id) == (TRACE, int(SPAN, 16))


async def test_without_one_of_the_clients_a_trace_is_begun_here(traced, spans, engine):
    traced.lanes.answers = [engine(), engine()]

    for headers in ({"x-task-id": "t"}, {"x-task-id": "t", "traceparent": "nonsense"}):
        await traced.post(CHAT, HELLO, key="acme", headers=headers)

    first, second = by_name(spans, "chat")
    assert first.context.trace_id == second.context.trace_id
    told = [sent.headers["traceparent"].split("-")[1] for sent in traced.lanes.opened]
    assert told == [first.context.trace] * 2
    assert first.attributes["pointsman.task.id"] == "t"


async def test_who_asks_for_it_is_told_the_trace(traced, spans, engine):
    traced.lanes.answers = [engine(), engine()]

    told = await traced.post(CHAT, HELLO, key="acme", headers={"x-pointsman-debug": "1"})
    untold = await traced.post(CHAT, HELLO, key="acme")

    trace = by_name(spans, "chat")[0].context.trace
    assert told.headers["x-pointsman-trace-id"] == trace
    assert "x-pointsman-trace-id" not in untold.headers


async def test_what_is_said_of_a_whole_answer(traced, spans, engine):
    traced.lanes.answers = [engine()]

    headers = {"x-session-id": "s", "x-request-id": "r-1"}
    await traced.post(CHAT, HELLO, key="slow", headers=headers)

    said = dict(span_of(spans).attributes)
    stages = {x for x in said if x.startswith("pointsman.stage.")}
    assert stages >= {f"pointsman.stage.{x}_s" for x in ("auth", "classify", "choose", "relay")}
    assert all(0 <= said.pop(x) < 10 for x in stages)
    assert said == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.conversation.id": "s",
        "gen_ai.request.model": "small",
        "gen_ai.response.model": "small",
        "gen_ai.request.stream": False,
        "gen_ai.request.max_tokens": 7,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.output_tokens": 3,
        "pointsman.request.id": "r-1",
        "pointsman.tenant.id": "slow",
        "pointsman.tier": "paced",
        "pointsman.code": "200",
        "pointsman.lane": "chat",
        "pointsman.reason": "default",
        "pointsman.replica": "r1",
        "pointsman.affinity": "new",
        "pointsman.score": 0.1,
        "pointsman.threshold": 0.5,
    }


async def test_a_setting_that_no_float_holds_costs_no_span(traced, spans, engine):
    traced.lanes.answers = [engine({}, status=400)]
    raw = json.dumps(HELLO).replace("0.5", "1" + 400 * "0")

    async with traced.client(key="acme") as client:
        await client.post(CHAT, content=raw)

    said = span_of(spans).attributes
    assert "gen_ai.request.temperature" not in said and said["gen_ai.request.max_tokens"] == 7


async def test_a_stream_says_when_its_first_chunk_came(holding, spans):
    holding.lanes.answers = [streamed(CHAT, Answer(["Well."]))]

    await holding.post(CHAT, body(CHAT), key="acme")

    span = span_of(spans)
    ttft_s = span.attributes["gen_ai.response.time_to_first_chunk"]
    assert 0 < ttft_s <= (span.end_ns - span.start_ns) / 1e9 + 0.01
    assert span.attributes["gen_ai.request.stream"] is True


async def test_a_trace_state_without_a_parent_is_nobodys(traced, engine):
    traced.lanes.answers = [engine()]

    await traced.post(CHAT, HELLO, key="acme", headers={"tracestate": "v=1"})

    assert "tracestate" not in traced.lanes.opened[0].headers


async def test_a_request_that_is_refused_unread_is_in_its_tasks_trace(traced, spans, engine):
    traced.lanes.answers = [engine(), engine()]
    for _ in range(3):
        await traced.post(CHAT, HELLO, key="guest", headers={"x-task-id": "t"})

    assert [x.attributes["pointsman.code"] for x in by_name(spans, "chat")][2:] != ["200"]
    assert len({x.context.trace_id for x in by_name(spans, "chat")}) == 1


@pytest.mark.parametrize("path", PATHS)
async def test_how_calls_were_judged_and_mended_is_said(holding, spans, path):
    again = answered(path, Answer([], [("add", ['{"a": 7}'])]))
    holding.lanes.answers = [streamed(path, Answer([], [GOOD, WRONG])), again]

    await holding.post(path, body(path), key="acme")

    said = span_of(spans).attributes
    assert said["pointsman.tool.outcomes"] == ["valid", "schema"]
    assert said["pointsman.tool.repairs"] == ["grammar"]
    assert said["pointsman.tool_calls"] == 2
    # What was asked for the repair hangs below the same span.
    parents = {sent.headers["traceparent"] for sent in holding.lanes.opened}
    assert len(holding.lanes.opened) == 2 and len(parents) == 1


@pytest.mark.parametrize("path", PATHS)
async def test_the_result_of_a_call_is_told_with_its_outcome(holding, spans, path):
    made = Answer(["Well."], [BAD["schema"]])
    again = answered(path, Answer([], [GOOD]))
    holding.lanes.answers = [answered(path, made), again, answered(path, Answer(["Done."]))]
    first = body(path, streams=False)
    answer = (await holding.post(path, first, key="acme")).json()
    field = "input" if "input" in first else "messages"

    await holding.post(path, {**first, field: [*first[field], *_next(path, answer)]}, key="acme")

    (tool,) = by_name(spans, "execute_tool")
    assert tool.name == "execute_tool add"
    assert tool.attributes["pointsman.tool.start_seen"] is True
    assert tool.attributes["pointsman.tool.outcome"] == "schema"
    (turn,) = by_name(spans, "invoke_agent")
    assert turn.attributes["pointsman.ended_by"] == "answer"


def _next(path, answer):
    """What a client sends behind an answer that has called a tool."""
    if path == CHAT:
        message = answer["choices"][0]["message"]
        return [message, result(message["tool_calls"][0]["id"])]
    if path == MESSAGES:
        (used,) = (x for x in answer["content"] if x["type"] == "tool_use")
        block = {"type": "tool_result", "tool_use_id": used["id"], "content": "x"}
        return [
            {"role": "assistant", "content": answer["content"]},
            {"role": "user", "content": [block]},
        ]
    (item,) = (x for x in answer["output"] if x["type"] == "function_call")
    return [item, {"type": "function_call_output", "call_id": item["call_id"], "output": "x"}]


async def test_a_message_that_the_engine_could_not_write_is_told_as_it_was(holding, spans):
    again = answered(MESSAGES, Answer([], [GOOD]))
    holding.lanes.answers = [FakeResponse(json.dumps(UNWRITTEN).encode(), status=400), again]

    await holding.post(MESSAGES, body(MESSAGES, streams=False), key="acme")

    said = span_of(spans).attributes
    assert said["pointsman.tool.outcomes"] == ["not_json"]
    assert said["pointsman.tool_calls"] == 1
    assert by_name(spans, "invoke_agent") == []


async def test_a_retry_is_told_with_the_replica_that_answered(traced, spans, engine):
    traced.lanes.answers = [UpstreamFault, engine()]

    await traced.post(CHAT, HELLO, key="acme")

    span = span_of(spans)
    assert span.attributes["pointsman.recovery"] == ["retried"] and span.error == ""
    assert span.attributes["pointsman.replica"] == "r2"


async def test_a_failure_is_told_with_its_code(traced, spans):
    traced.lanes.answers = [UpstreamFault] * 3

    refused = await traced.post(CHAT, HELLO, key="acme")

    span = span_of(spans)
    assert span.attributes["pointsman.recovery"] == ["failed"]
    assert span.error == refused.json()["error"]["code"]
    assert span.attributes["http.response.status_code"] == refused.status_code >= 400


async def test_a_stream_that_broke_off_is_an_error(traced, spans):
    parts = [b'data: {"choices": [{"index": 0, "delta": {"tool_calls": [{}]}}]}\n\n']
    broken = FakeResponse(*parts, BrokenConnection(), content_type="text/event-stream")
    traced.lanes.answers = [broken]

    await traced.post(CHAT, {**HELLO, "stream": True}, key="acme")

    assert span_of(spans).error == "broken"


@pytest.mark.security
async def test_a_refusal_has_a_span_without_a_word_of_the_prompt(traced, spans, engine):
    traced.lanes.answers = [engine(), engine()]
    asked = {"messages": [user("secret")]}
    await traced.post(CHAT, {**asked, "n": 99}, key="acme")
    await traced.post(CHAT, {"messages": "secret"}, key="acme")
    for _ in range(3):
        # The last is refused before its body is read.
        await traced.post(CHAT, asked, key="guest")

    errors = [span.error for span in by_name(spans, "chat")]
    assert errors == ["invalid_request", "invalid_request", "", "", "request_rate"]
    assert "secret" not in repr(spans)


async def test_a_dry_run_is_no_llm_call(traced, spans):
    await traced.post("/v1/route", HELLO, key="acme")

    assert spans == []


async def test_the_request_log_names_the_trace_and_the_judgements(holding, spans):
    holding.recorder.start()
    again = answered(CHAT, Answer([], [GOOD]))
    holding.lanes.answers = [streamed(CHAT, Answer([], [WRONG])), again]

    await holding.post(CHAT, body(CHAT), key="acme")
    holding.recorder.close()

    (line,) = (holding.folder / "log" / "requests-i1.jsonl").read_text().splitlines()
    said = json.loads(line)
    assert said["trace_id"] == span_of(spans).context.trace
    assert (said["model"], said["tool_outcomes"], said["tool_repairs"]) == (
        "small",
        ["schema"],
        ["grammar"],
    )


async def test_off_a_clients_headers_go_on_as_they_came(world, engine):
    world.lanes.answers = [engine()]

    await world.post(CHAT, HELLO, key="acme", headers=CLIENT)

    sent = world.lanes.opened[0].headers
    assert {name: sent[name] for name in CLIENT} == CLIENT


async def test_on_what_a_client_does_not_sample_goes_on_as_it_came(traced, spans, engine):
    traced.lanes.answers = [engine()]
    unsampled = {**CLIENT, "traceparent": f"00-{TRACE}-{SPAN}-00"}

    await traced.post(CHAT, HELLO, key="acme", headers=unsampled)

    sent = traced.lanes.opened[0].headers
    assert {name: sent[name] for name in CLIENT} == unsampled
    assert spans == []
