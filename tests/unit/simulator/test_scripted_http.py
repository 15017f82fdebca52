"""Scripted answers on their three routes: streamed as whole, as SDKs read them, as vLLM writes."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
import yaml

from simulator.http.app import SimulatedEngineApp
from simulator.http.scripted_forms.table import SCRIPTED_FORMS
from simulator.http.spec import EngineSpec
from simulator.model.profile import FixedTiming, Profile
from simulator.script.model import Fault, Script
from tests.unit.simulator.test_http import CARD

MODEL = "m"
SCHEMA = {
    "type": "object",
    "properties": {"path": {"type": "string"}, "lines": {"type": "integer"}},
    "required": ["path"],
    "additionalProperties": False,
}
FUNCTIONS = [{"name": name, "description": name} for name in ("read", "look")]
STEP = {
    "reasoning": "Let me see: ünïcode.",
    "text": "I read “both”.",
    "calls": [
        {"read": {"path": "/tmp/ä.txt", "lines": 20}},
        {"look": {"path": "/"}},
    ],
}
CASES: dict[str, dict[str, Any]] = {
    "all": STEP,
    "text": {"text": "Hello there, you."},
    "calls": {"calls": STEP["calls"]},
    "thought": {"reasoning": "Hm.", "text": "Yes."},
    "empty": {"text": "x", "fault": "empty"},
    **{
        fault.value: {**STEP, "fault": fault.value}
        for fault in Fault
        if fault not in (Fault.EMPTY, Fault.TOO_MANY)
    },
}
UNREADABLE = {"not_json", "truncated", "not_object"}
"""Faults that vLLM cannot write in a whole Anthropic message."""


def app_of(step: dict[str, Any], **options: Any) -> SimulatedEngineApp:
    script = Script.model_validate({"turns": [{"steps": [step]}]})
    timing = FixedTiming(ttft_s=0, itl_s=0)
    return SimulatedEngineApp(EngineSpec(MODEL, 9000, timing, script=script, seed=1, **options))


def http(app: SimulatedEngineApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://engine")


def chat_body(**fields: Any) -> dict[str, Any]:
    tools = [{"type": "function", "function": f | {"parameters": SCHEMA}} for f in FUNCTIONS]
    messages = [{"role": "user", "content": "hi"}]
    return {"model": MODEL, "messages": messages, "tools": tools, **fields}


def messages_body(**fields: Any) -> dict[str, Any]:
    tools = [f | {"input_schema": SCHEMA} for f in FUNCTIONS]
    body = {"model": MODEL, "max_tokens": 4000, "tools": tools}
    return body | {"messages": [{"role": "user", "content": "hi"}], **fields}


def responses_body(**fields: Any) -> dict[str, Any]:
    tools = [{"type": "function", **f, "parameters": SCHEMA, "strict": False} for f in FUNCTIONS]
    return {"model": MODEL, "input": "hi", "tools": tools, **fields}


BODIES: dict[str, Any] = {
    "/v1/chat/completions": chat_body,
    "/v1/messages": messages_body,
    "/v1/responses": responses_body,
}


async def streamed(app: SimulatedEngineApp, route: str, body: dict[str, Any]) -> list[Any]:
    """The events of a stream."""
    async with http(app) as client:
        answer = await client.post(route, json=body | {"stream": True})
    lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


def written(step: dict[str, Any], route: str, tokens: int) -> list[Any]:
    """The events of a stream in which the engine makes so many tokens a step."""
    body = BODIES[route](stream=True, stream_options={"include_usage": True})
    app = app_of(step)
    ask = app.read(route, body)
    (choice,) = choices = app.scripted(route, body, ask)
    form = SCRIPTED_FORMS[route](ask, MODEL, Random(1))
    said = form.begin(choice, 0, tokens)
    for first in range(tokens, len(choice.tokens), tokens):
        said += form.delta(choice, first, first + tokens)
    lines = (said + form.end(choices)).decode().splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


async def whole(app: SimulatedEngineApp, route: str, body: dict[str, Any]) -> httpx.Response:
    async with http(app) as client:
        return await client.post(route, json=body)


# -- both forms agree, as the official SDKs read them --------------------------------


@pytest.mark.parametrize("case", CASES)
async def test_chat_streams_what_it_says_as_a_whole(case: str) -> None:
    app = app_of(CASES[case])
    client = openai.AsyncOpenAI(base_url="http://engine/v1", api_key="x", http_client=http(app))
    plain = (await client.chat.completions.create(**chat_body())).choices[0]
    content, reasoning, calls, ended = "", "", {}, []
    async for chunk in await client.chat.completions.create(
        **chat_body(stream=True, stream_options={"include_usage": True})
    ):
        if not chunk.choices:
            assert chunk.usage is not None and chunk.usage.completion_tokens > 0
            continue
        delta = chunk.choices[0].delta
        content += delta.content or ""
        reasoning += getattr(delta, "reasoning", None) or ""
        for call in delta.tool_calls or ():
            if call.id:
                calls[call.index] = [call.function.name, ""]
            else:
                calls[call.index][1] += call.function.arguments
        ended.append(chunk.choices[0].finish_reason)
    found = [[c.function.name, c.function.arguments] for c in plain.message.tool_calls or ()]
    assert list(calls.values()) == found
    assert (content, reasoning) == (plain.message.content or "", plain.message.reasoning or "")
    assert ended[-1] == plain.finish_reason and not any(ended[:-1])
    assert plain.finish_reason == ("tool_calls" if found or case == "no_call" else "stop")


@pytest.mark.parametrize("case", sorted(set(CASES) - UNREADABLE))
async def test_messages_streams_what_it_says_as_a_whole(case: str) -> None:
    app = app_of(CASES[case])
    inner = httpx2.AsyncClient(transport=httpx2.ASGITransport(app))
    client = anthropic.AsyncAnthropic(base_url="http://engine", api_key="x", http_client=inner)
    plain = await client.messages.create(**messages_body())
    async with client.messages.stream(**messages_body()) as events:
        said = await events.get_final_message()

    def shown(message: Any) -> list[Any]:
        drop = {"id", "signature", "citations"}
        blocks = [block.model_dump(exclude=drop, exclude_none=True) for block in message.content]
        return [block for block in blocks if block.get("text") != ""]

    assert shown(said) == shown(plain)
    assert (said.stop_reason, said.usage.output_tokens) == (
        plain.stop_reason,
        plain.usage.output_tokens,
    )


@pytest.mark.parametrize("case", sorted(UNREADABLE))
async def test_messages_refuses_a_whole_call_that_it_cannot_read(case: str) -> None:
    app = app_of(CASES[case])
    answer = await whole(app, "/v1/messages", messages_body())
    assert answer.status_code == 400 and answer.json()["error"]["type"] == "BadRequestError"
    events = await streamed(app, "/v1/messages", messages_body())
    assert events[-1]["type"] == "message_stop"


@pytest.mark.parametrize("case", CASES)
async def test_responses_streams_what_it_says_as_a_whole(case: str) -> None:
    app = app_of(CASES[case])
    client = openai.AsyncOpenAI(base_url="http://engine/v1", api_key="x", http_client=http(app))
    plain = await client.responses.create(**responses_body())
    items = []
    async with client.responses.stream(**responses_body()) as events:
        async for event in events:
            items += [event.item] if event.type == "response.output_item.done" else []
        last = await events.get_final_response()

    def shown(output: Any) -> list[Any]:
        drop = {"id", "call_id", "status", "parsed_arguments", "summary"}
        return [
            json.loads(item.model_dump_json(exclude=drop, exclude_none=True)) for item in output
        ]

    bare = [{k: v for k, v in row.items() if k != "content"} for row in shown(plain.output)]
    for output in (items, last.output):
        rows = [{k: v for k, v in row.items() if k != "content"} for row in shown(output)]
        assert rows == bare
        texts = [[part.text for part in item.content or ()] for item in output
                 if item.type != "function_call"]  # fmt: skip
        assert texts == [[part.text for part in item.content or ()] for item in plain.output
                         if item.type != "function_call"]  # fmt: skip
    assert last.usage == plain.usage and last.status == plain.status == "completed"


# -- what is odd about the pinned vLLM -------------------------------------------------


def test_a_name_comes_first_and_then_arguments_in_pieces() -> None:
    deltas = [c["choices"][0]["delta"] for c in written(STEP, "/v1/chat/completions", 1)[:-1]]
    assert deltas[0] == {"role": "assistant", "content": ""}
    calls = [delta for delta in deltas if "tool_calls" in delta]
    assert all(delta["content"] is None for delta in calls)
    heads = [delta["tool_calls"][0] for delta in calls if "id" in delta["tool_calls"][0]]
    assert [head["function"] for head in heads] == [{"name": "read"}, {"name": "look"}]
    assert [head["index"] for head in heads] == [0, 1]
    assert len(calls) > 10 and deltas[-1] == {}


def test_several_tokens_of_one_step_are_one_chunk_with_two_entries_for_a_call() -> None:
    role, only, usage = written(STEP, "/v1/chat/completions", 1000)
    delta = only["choices"][0]["delta"]
    assert delta["content"] == STEP["text"] and delta["reasoning"] == STEP["reasoning"]
    shown = [(entry["index"], *entry["function"]) for entry in delta["tool_calls"]]
    assert shown == [(0, "name"), (0, "arguments"), (1, "name"), (1, "arguments")]
    assert role["choices"] and not usage["choices"]


async def test_the_tool_that_is_named_ends_an_answer_with_stop() -> None:
    named = {"type": "function", "function": {"name": "read"}}
    app = app_of(STEP)
    answer = (await whole(app, "/v1/chat/completions", chat_body(tool_choice=named))).json()
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "stop" and len(choice["message"]["tool_calls"]) == 1
    message = await whole(
        app, "/v1/messages", messages_body(tool_choice={"type": "tool", "name": "read"})
    )
    assert message.json()["stop_reason"] == "end_turn"


async def test_a_call_without_room_is_text_in_a_whole_answer_and_half_a_call_in_a_stream() -> None:
    app = app_of({"calls": STEP["calls"]})
    body = chat_body(max_tokens=30)
    choice = (await whole(app, "/v1/chat/completions", body)).json()["choices"][0]
    assert choice["finish_reason"] == "length" and "tool_calls" not in choice["message"]
    assert choice["message"]["content"].startswith('<tool_call>\n{"name": "read"')
    chunks = await streamed(app, "/v1/chat/completions", body)
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_the_last_event_of_responses_has_other_ids() -> None:
    events = await streamed(app_of(STEP), "/v1/responses", responses_body())
    done = [e["item"] for e in events if e["type"] == "response.output_item.done"]
    last = events[-1]["response"]["output"]
    assert [row["type"] for row in done] == [row["type"] for row in last]
    assert not {row["id"] for row in done} & {row["id"] for row in last}
    assert done[-1]["call_id"].startswith("call_")
    assert last[-1]["call_id"].startswith("chatcmpl-tool-")
    assert [e["sequence_number"] for e in events] == list(range(len(events)))


# -- beside the script -------------------------------------------------------------


async def test_usage_may_be_claimed() -> None:
    app = app_of({"text": "a", "usage": {"prompt_tokens": 7, "completion_tokens": 9}})
    usage = (await whole(app, "/v1/chat/completions", chat_body())).json()["usage"]
    assert (usage["prompt_tokens"], usage["total_tokens"]) == (7, 16)


async def test_a_format_is_kept_to_whatever_the_script_says() -> None:
    shape = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
    output = {"format": {"type": "json_schema", "schema": shape}}
    body = messages_body(output_config=output)
    del body["tools"]
    answer = (await whole(app_of({"text": "a"}), "/v1/messages", body)).json()
    assert json.loads(answer["content"][0]["text"]) == {"title": "simulated"}


async def test_tools_that_are_none_are_refused() -> None:
    answer = await whole(app_of({"text": "a"}), "/v1/messages", messages_body(tools=["bash"]))
    assert answer.status_code == 400


async def test_a_profile_names_a_script(tmp_path: Path) -> None:
    path = tmp_path / "script.yaml"
    path.write_text(yaml.safe_dump({"turns": [{"steps": [{"text": "as written"}]}]}))
    profile = Profile.model_validate(CARD.model_dump() | {"script": str(path)})
    app = SimulatedEngineApp(EngineSpec(MODEL, 900, profile))
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
    answer = (await whole(app, "/v1/chat/completions", body)).json()
    assert answer["choices"][0]["message"]["content"] == "as written"


# -- as the installed vLLM does --------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [1, 3, 1000])
@pytest.mark.parametrize("case", CASES)
async def test_messages_are_what_vllm_makes_of_the_chat(case: str, tokens: int) -> None:
    from vllm.entrypoints.anthropic.serving import AnthropicServingMessages

    converter = object.__new__(AnthropicServingMessages)
    converter.stop_reason_map = {
        "stop": "end_turn",
        "length": "max_tokens",
        "tool_calls": "tool_use",
    }

    async def chunks() -> Any:
        for chunk in written(CASES[case], "/v1/chat/completions", tokens):
            yield f"data: {json.dumps(chunk)}\n\n"
        yield "data: [DONE]\n\n"

    theirs = [
        json.loads(event.split("data: ", 1)[1])
        async for event in converter.message_stream_converter(chunks())
    ]
    assert _bare(written(CASES[case], "/v1/messages", tokens)) == _bare(theirs)


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [1, 3, 1000])
@pytest.mark.parametrize("case", CASES)
def test_events_are_what_vllm_makes_of_the_same_deltas(case: str, tokens: int) -> None:
    from vllm.entrypoints.generate.base.protocol import DeltaMessage
    from vllm.entrypoints.openai.responses.streaming_events import (
        SimpleStreamingEventProcessor,
        _StateType,
        split_delta,
    )

    processor = SimpleStreamingEventProcessor()
    made: list[Any] = []
    for chunk in written(CASES[case], "/v1/chat/completions", tokens)[1:-1]:
        for delta in split_delta(DeltaMessage.model_validate(chunk["choices"][0]["delta"])):
            target, call = processor.resolve_target_state(delta)
            if target == _StateType.NONE:
                continue
            if processor.needs_transition(target, call):
                made += processor.close_current() + processor.open(target, call)
            made += processor.emit_delta(delta, None)
    made += processor.close_current()
    theirs = [json.loads(event.model_dump_json(by_alias=True)) for event in made]
    assert _bare(written(CASES[case], "/v1/responses", tokens)[2:-1]) == _bare(theirs)


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [1, 3, 7, 1000])
def test_deltas_are_what_vllms_parser_makes_of_the_raw_text(tokens: int) -> None:
    from vllm.tool_parsers.hermes_tool_parser import Hermes2ProToolParser

    step = {"text": STEP["text"], "calls": STEP["calls"]}
    app = app_of(step)
    body = chat_body()
    ask = app.read("/v1/chat/completions", body)
    (choice,) = app.scripted("/v1/chat/completions", body, ask)
    parser = Hermes2ProToolParser(SimpleNamespace(get_vocab=dict))
    theirs = []
    for first in range(0, len(choice.tokens), tokens):
        said = choice.text(0, first + tokens), choice.text(first, first + tokens)
        found = parser.extract_tool_calls_streaming("", *said, (), (), (), None)
        theirs.append({} if found is None else found.model_dump(exclude_unset=True))
    chunks = written(step, "/v1/chat/completions", tokens)[1:-1]
    ours = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert _bare([delta for delta in ours if delta]) == _bare([d for d in theirs if d])


def _bare(value: Any) -> Any:
    """Without what is drawn, counted or dated."""
    drawn = {"id", "item_id", "call_id", "signature", "usage", "sequence_number", "model"}
    if isinstance(value, dict):
        return {key: _bare(item) for key, item in value.items() if key not in drawn}
    if isinstance(value, list):
        return [_bare(item) for item in value]
    return value
