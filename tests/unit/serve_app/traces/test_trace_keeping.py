"""A tenant's requests are kept whole and redacted; nobody else's, and never a key."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest
import yaml

from evals.traces.store import read_traces
from evals.traces.trace import Trace
from serve_app.app import build
from serve_app.config.errors import ConfigError
from serve_app.config.records import TracesConfig
from serve_app.config.settings import fleet_path
from serve_app.config.tenants import TenantsConfig
from serve_app.doctor.check import Result
from serve_app.doctor.files.configuration import file_checks
from serve_app.pipeline import trace_keeping
from serve_app.pipeline.trace_keeping import TraceKeeping
from serve_app.routing.policies import build_policies
from serve_app.traces.hook import load_hook
from tests.unit.serve_app.conftest import FakeScorer

CHAT = "/v1/chat/completions"
TOOL = {
    "type": "function",
    "function": {
        "name": "mail",
        "parameters": {"type": "object", "properties": {"to": {"type": "string"}}},
    },
}
ASKED = {
    "messages": [{"role": "user", "content": "Write to bob@example.com"}],
    "tools": [TOOL],
    "temperature": 0,
}
CALL = {"name": "mail", "arguments": '{"to": "bob@example.com"}'}


def answer(**message) -> dict:
    return {
        "choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    }


@pytest.fixture
def keeping(world, tmp_path):
    """The world's gateway, where `acme` lets its requests be kept for nine days."""

    def keep(**config) -> TraceKeeping:
        tenants = world.tenants.model_dump()
        tenants["tenants"]["acme"]["keep_traces_days"] = 9
        found = TenantsConfig.model_validate(tenants)
        old = world.state.policies
        world.state.apply(build_policies(old.fleet, found, FakeScorer(), lambda _: 0.5))
        lost = world.metrics.request_records_dropped.labels("traces").inc
        world.traces = TraceKeeping(TracesConfig(**config), tmp_path / "traces", "i1", lost)
        world.use(world.lanes)
        return world.traces

    yield keep
    world.traces.close()


def kept(world) -> list[Trace]:
    world.traces.close()
    return list(read_traces(world.folder / "traces"))


async def test_a_request_with_a_call_is_kept_redacted(keeping, world, engine):
    keeping()
    message = {"content": "For 4111 1111 1111 1111", "tool_calls": [{"id": "c", "function": CALL}]}
    world.lanes.answers = [engine(answer(**message))]

    await world.post(CHAT, ASKED, key="acme", headers={"x-request-id": "r1", "x-task-id": "t"})

    (trace,) = kept(world)
    assert trace.body["messages"] == [{"role": "user", "content": "Write to [email]"}]
    assert trace.body["tools"] == [TOOL] and trace.body["temperature"] == 0
    assert trace.answer == "For [card]"
    assert trace.tool_calls == ({"name": "mail", "arguments": '{"to": "[email]"}'},)
    assert (trace.finish_reason, trace.verdicts, trace.redactions) == ("tool_calls", ("valid",), 3)
    assert (trace.request_id, trace.tenant, trace.api, trace.code) == ("r1", "acme", CHAT, "200")
    assert (trace.lane, trace.reason, trace.score) == ("chat", "default", 0.1)
    assert (trace.threshold, trace.classifier) == (0.5, "fake")
    assert trace.policy_version == world.state.policies.version != ""
    assert (trace.prompt_tokens, trace.completion_tokens) == (7, 3)
    assert len(trace.session) == len(trace.task) == 16
    assert trace.duration_s > trace.stages["relay"] > 0
    assert trace.body["tools"] and "bob" not in str(trace)


@pytest.mark.usefixtures("both_ways")
async def test_a_stream_is_kept_as_its_client_got_it(keeping, world, stream):
    keeping()
    parts = [
        b'data: {"choices": [{"index": 0, "delta": {"content": "%b"}}]}\n\n' % x
        for x in (b"I am ", b"a@b.", b"com")
    ]
    last = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n'
    world.lanes.answers = [stream(*parts, last, b"data: [DONE]\n\n")]

    found = await world.post(CHAT, {**ASKED, "tools": None, "stream": True}, key="acme")

    assert b"a@b." in found.content
    (trace,) = kept(world)
    assert (trace.answer, trace.finish_reason) == ("I am [email]", "stop")
    assert trace.ttft_s is not None


async def test_others_requests_are_not_kept_and_nothing_is_begun(keeping, world, engine):
    keeping()
    world.lanes.answers = [engine()]

    await world.post(CHAT, ASKED, key="slow")

    assert kept(world) == []
    assert not world.traces.writer.thread.ident
    assert not (world.folder / "traces").exists()


async def test_keys_and_headers_are_in_no_file(keeping, world, engine):
    keeping()
    world.lanes.answers = [engine()]
    key = world.keys["acme"]

    await world.post(CHAT, {**ASKED, "user": key}, key="acme", headers={"x-session-id": "SESSION"})

    (trace,) = kept(world)
    assert trace.body["user"] == "[api_key]"
    raw = b"".join(x.read_bytes() for x in (world.folder / "traces").rglob("*.parquet"))
    row = json.dumps(trace.row(), default=str)
    for secret in (key, key.split("-")[2], "SESSION", "authorization"):
        assert secret not in row and secret.encode() not in raw


async def test_a_refused_request_has_its_code_and_no_answer(keeping, world):
    keeping()

    await world.post(CHAT, {**ASKED, "model": "no such"}, key="acme")

    (trace,) = kept(world)
    assert trace.code not in ("200", "") and trace.lane is None and trace.answer is None
    assert trace.body["messages"]


async def test_what_is_too_long_is_left_out(keeping, world, engine):
    keeping(max_body_bytes=1024, max_answer_bytes=1024)
    world.lanes.answers = [engine(answer(content="a" * 1200)), engine(answer(content="short"))]
    long = {"messages": [{"role": "user", "content": "a" * 1200}]}

    for body in (long, ASKED):
        await world.post(CHAT, body, key="acme")

    first, second = kept(world)
    assert (first.body, first.answer, first.code) == ({}, None, "200")
    assert (second.body["messages"], second.answer) == (
        [{"role": "user", "content": "Write to [email]"}],
        "short",
    )


async def test_a_hook_that_fails_drops_the_trace_and_not_the_request(keeping, world, engine):
    sys.modules["own_redaction"] = SimpleNamespace(
        fails=lambda text: text if text == "text" else text.missing
    )
    try:
        keeping(redact="own_redaction:fails")
    finally:
        del sys.modules["own_redaction"]
    world.lanes.answers = [engine(answer(content="Hi"))]

    found = await world.post(CHAT, ASKED, key="acme")

    assert found.status_code == 200
    assert kept(world) == []
    assert world.count("pointsman_request_records_dropped_total", sink="traces") == 1


async def test_what_waits_is_bounded_in_bytes(keeping, world, engine, monkeypatch):
    made = keeping()
    monkeypatch.setattr(made, "_begin", lambda: None)
    monkeypatch.setattr(trace_keeping, "MAX_WAITING_BYTES", 1500)
    world.lanes.answers = [engine(answer(content="a" * 500)) for _ in range(3)]

    for _ in range(3):
        await world.post(CHAT, ASKED, key="acme")

    lost = world.count("pointsman_request_records_dropped_total", sink="traces")
    assert 1 <= lost < 3
    made.sink.write([])
    made._has_begun = False


@pytest.mark.parametrize("name", ["no.such.module:f", "json:no_such", "json:__doc__"])
def test_a_hook_that_is_not_there_stops_the_start(name):
    with pytest.raises(ConfigError, match=r"traces\.redact"):
        load_hook(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("json:loads", "json:loads: JSONDecodeError"),
        ("json:JSONDecoder", "json:JSONDecoder: TypeError"),
        ("builtins:len", "builtins:len: returned int, not str"),
    ],
)
def test_a_hook_that_makes_no_text_of_a_text_stops_the_start(name, words):
    """Otherwise every trace would be dropped, one by one."""
    with pytest.raises(ConfigError, match=words):
        load_hook(name)


def test_the_graph_is_not_built_with_a_hook_that_is_not_there(tmp_path, monkeypatch):
    """The word comes before lanes load."""
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path))
    fleet = yaml.safe_load(fleet_path("local").read_text())
    path = tmp_path / "fleet.yaml"
    path.write_text(yaml.safe_dump({**fleet, "traces": {"redact": "no_such_module:f"}}))

    with pytest.raises(ConfigError, match=r"traces\.redact: no_such_module"):
        build({"fleet": str(path), "engine": "simulated"})
    check = next(x for x in file_checks(str(path), path, path) if x.name == "fleet")
    found = check.run()
    assert found.result is Result.FAILURE
    assert "traces.redact: no_such_module" in found.detail


def test_a_hook_is_found_by_its_name():
    assert load_hook("textwrap:dedent")("  a") == "a"
    assert load_hook(None) is None


@pytest.mark.security
@pytest.mark.parametrize("path", ["/traces", "/v1/traces", "/admin/traces", "/console/traces"])
async def test_no_route_reads_traces_whoever_asks(keeping, world, engine, path):
    keeping()
    world.lanes.answers = [engine(answer(content="Hi"))]
    await world.post(CHAT, ASKED, key="acme")

    for key in ("acme", "guest", "root"):
        async with world.client(key=key) as client:
            assert (await client.get(path)).status_code == 404
