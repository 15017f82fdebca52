"""Spans on their way: real exporters to small collectors, and collectors that are not there."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections import Counter
from math import ceil
from types import SimpleNamespace

import pytest

from serve_app.config.tracing import TracingConfig
from serve_app.metrics import Metrics
from serve_app.request.call import Outcome
from serve_app.tracing import conventions as c
from serve_app.tracing.delivery import BATCH, TenantShares, build_tracing
from serve_app.tracing.otlp import traces_url
from tests.unit.serve_app.tracing.calls import SECRET, answer, called, make_call, result, user
from tests.unit.serve_app.tracing.collector import (
    GrpcCollector,
    HttpCollector,
    attributes,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CLIENT = {b"traceparent": f"00-{TRACE}-{SPAN}-01".encode(), b"tracestate": b"v=1"}


@pytest.fixture
def metrics():
    return Metrics()


def counted(metrics, name) -> float:
    return metrics.registry.get_sample_value(f"pointsman_trace_spans_{name}_total")


def serve_a_turn(tracing, **more) -> None:
    for messages, ids in (
        ([user("go")], ["a"]),
        ([user("go"), called("a"), result("a")], []),
    ):
        call = make_call(messages, **more)
        tracing.tracer.begin(call)
        answer(call, *ids)
        tracing.tracer.end(call)


def delivered_later(collector, metrics, **config):
    settings = TracingConfig(endpoint=collector.endpoint, **config)
    return build_tracing(settings, SECRET, "i1", metrics)


def delivered(collector, metrics, **config):
    tracing = delivered_later(collector, metrics, **config)
    tracing.start()
    return tracing


@pytest.mark.parametrize(
    ("kind", "protocol"), [(HttpCollector, "http"), (GrpcCollector, "grpc")], ids=["http", "grpc"]
)
def test_a_turn_reaches_a_collector_as_a_tree(kind, protocol, metrics):
    with kind() as collector:
        tracing = delivered(collector, metrics, protocol=protocol)
        serve_a_turn(tracing)
        tracing.close()

    by_name = {x.name.split()[0]: x for x in collector.spans}
    assert len(collector.spans) == 5 and counted(metrics, "exported") == 5
    turn = by_name["invoke_agent"]
    assert by_name["invoke_workflow"].parent_span_id == b""
    assert turn.parent_span_id == by_name["invoke_workflow"].span_id
    assert by_name["chat"].parent_span_id == turn.span_id
    assert by_name["execute_tool"].parent_span_id == turn.span_id
    assert {x.trace_id for x in collector.spans} == {turn.trace_id}
    assert (by_name["chat"].kind, turn.kind) == (3, 1)
    assert [x.span_id for x in by_name["execute_tool"].links] != []
    assert attributes(by_name["chat"])[c.OUTPUT_TOKENS] == 5
    assert counted(metrics, "dropped") == 0


def test_the_conventions_and_the_replica_are_named(metrics):
    with HttpCollector() as collector:
        tracing = delivered(collector, metrics)
        serve_a_turn(tracing)
        tracing.close()

    scope = collector.requests[0].resource_spans[0].scope_spans[0]
    assert scope.schema_url == c.SCHEMA_URL and scope.scope.name == "pointsman"
    assert collector.resource[c.SERVICE_NAME] == "pointsman"
    assert collector.resource[c.SERVICE_INSTANCE_ID] == "i1"
    assert collector.paths == ["/v1/traces"]


def test_a_clients_span_is_a_remote_parent(metrics):
    with HttpCollector() as collector:
        tracing = delivered(collector, metrics)
        serve_a_turn(tracing, headers=CLIENT)
        tracing.close()

    assert {x.trace_id.hex() for x in collector.spans} == {TRACE}
    assert {x.parent_span_id.hex() for x in collector.spans} == {SPAN}
    assert {x.trace_state for x in collector.spans} == {"v=1"}
    assert all(x.flags & 0x200 for x in collector.spans)


def test_an_error_is_the_spans_status(metrics):
    with HttpCollector() as collector:
        tracing = delivered(collector, metrics)
        call = make_call([user("go")])
        tracing.tracer.begin(call)
        answer(call, outcome=Outcome.FAILED)
        tracing.tracer.end(call)
        tracing.close()

    (span,) = [x for x in collector.spans if x.name == "chat"]
    assert span.status.code == 2 and span.status.message == ""
    assert attributes(span)[c.ERROR_TYPE] == "500"


@pytest.mark.security
def test_a_headers_value_comes_from_the_environment(metrics, monkeypatch):
    monkeypatch.setenv("COLLECTOR_TOKEN", "Bearer collector-key")
    with HttpCollector() as collector:
        tracing = delivered(collector, metrics, headers={"authorization": "COLLECTOR_TOKEN"})
        serve_a_turn(tracing)
        tracing.close()

    assert {k.lower(): v for k, v in collector.headers[0].items()}["authorization"] == (
        "Bearer collector-key"
    )


def test_a_variable_that_is_not_set_is_told_and_stops_nothing(metrics, monkeypatch, caplog):
    monkeypatch.delenv("COLLECTOR_TOKEN", raising=False)
    with HttpCollector() as collector:
        tracing = delivered(collector, metrics, headers={"authorization": "COLLECTOR_TOKEN"})
        serve_a_turn(tracing)
        tracing.close()

    assert len(collector.spans) == 5
    assert "COLLECTOR_TOKEN is not set" in caplog.text


def test_opentelemetrys_own_variables_count(metrics, monkeypatch):
    with HttpCollector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=ours")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "edge")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=night")
        tracing = build_tracing(TracingConfig(), SECRET, "i1", metrics)
        tracing.start()
        serve_a_turn(tracing)
        tracing.close()

    assert collector.resource[c.SERVICE_NAME] == "edge"
    assert collector.resource["deployment.environment"] == "night"
    assert {k.lower(): v for k, v in collector.headers[0].items()}["x-team"] == "ours"


# -- a collector that does not take them ---------------------------------------------


def no_listener() -> str:
    """An address at which nothing listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{found.getsockname()[1]}"


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_collector_that_is_not_there_costs_its_spans_and_no_more(protocol, metrics, caplog):
    config = TracingConfig(endpoint=no_listener(), protocol=protocol, timeout_s=0.3)
    tracing = build_tracing(config, SECRET, "i1", metrics)
    tracing.start()

    begun = time.monotonic()
    serve_a_turn(tracing)
    asked = time.monotonic() - begun
    tracing.close()

    assert asked < 0.2
    assert counted(metrics, "exported") == 0
    told = [record.message for record in caplog.records]
    assert len(told) <= 1 and all("127.0.0.1" not in x for x in told)


def test_what_a_collector_refuses_is_counted_as_lost(metrics, caplog):
    with HttpCollector(status=401) as collector:
        tracing = delivered(collector, metrics)
        serve_a_turn(tracing)
        tracing.close()

    assert counted(metrics, "dropped") == 5 and counted(metrics, "exported") == 0
    (told,) = [record.message for record in caplog.records]
    assert told.startswith("spans: cannot write") and "did not take them" in told


def test_a_full_queue_loses_what_comes_next_and_counts_it(metrics):
    config = TracingConfig(endpoint=no_listener(), queue=64)
    tracing = build_tracing(config, SECRET, "i1", metrics)
    # Not started: nobody empties it.
    for tenant in ("a", "b", "c"):
        for _ in range(10):
            serve_a_turn(tracing, tenant=tenant)

    # Four spans of each turn; the tasks have not ended.
    assert counted(metrics, "dropped") == 120 - 64


@pytest.mark.security
def test_a_tenant_leaves_others_half_of_the_queue(metrics):
    with HttpCollector() as collector:
        tracing = delivered_later(collector, metrics, queue=64)
        for number in range(50):
            serve_a_turn(tracing, tenant="greedy", task=f"t{number}")
        serve_a_turn(tracing, tenant="guest")
        tracing.tracer.close()
        tracing.start()
        tracing.close()

    by_tenant = Counter(attributes(x)[c.TENANT] for x in collector.spans)
    # Its open tasks' spans come at the end, when there is room for no more of its own.
    assert by_tenant == {"greedy": 32, "guest": 5}


def test_what_was_sent_makes_room_again():
    shares = TenantShares(1)
    span = SimpleNamespace(attributes={c.TENANT: "a"})

    assert shares.try_take(span) and not shares.try_take(span)
    shares.give_back([span])
    assert shares.try_take(span)


def test_what_found_no_room_is_not_counted_as_waiting(metrics):
    """Else a tenant that came to a full queue would be locked out for good."""
    with HttpCollector() as collector:
        tracing = delivered_later(collector, metrics, queue=64)
        for tenant in ("a", "b", "late"):
            for _ in range(10):
                serve_a_turn(tracing, tenant=tenant)
        tracing.start()
        # All that waits is sent.
        tracing.close()
    lost = counted(metrics, "dropped")
    assert lost > 32

    serve_a_turn(tracing, tenant="late")

    assert counted(metrics, "dropped") == lost


def test_a_collector_that_never_answers_holds_the_end_up_for_its_time_only(metrics):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        endpoint = f"http://127.0.0.1:{listening.getsockname()[1]}"
        config = TracingConfig(endpoint=endpoint, timeout_s=0.5)
        tracing = build_tracing(config, SECRET, "i1", metrics)
        tracing.start()
        serve_a_turn(tracing)

        begun = time.monotonic()
        tracing.close()

    assert time.monotonic() - begun < 10


def test_large_batches_go_in_parts(metrics):
    with HttpCollector() as collector:
        tracing = delivered_later(collector, metrics)
        for number in range(300):
            serve_a_turn(tracing, task=f"t{number}")
        tracing.tracer.close()
        tracing.start()
        tracing.close()

    assert len(collector.spans) == counted(metrics, "exported") == 1500
    assert len(collector.requests) == ceil(1500 / BATCH)


# -- how it is set --------------------------------------------------------------------


def test_an_exporter_that_cannot_be_made_stops_nobody(metrics, monkeypatch, caplog):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "no such")

    assert build_tracing(TracingConfig(protocol="grpc"), SECRET, "i1", metrics) is None
    assert "tracing is off" in caplog.text


def test_off_is_nothing(metrics):
    assert build_tracing(None, SECRET, "i1", metrics) is None


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        (None, None),
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("http://c:4318/", "http://c:4318/v1/traces"),
        ("https://c/otlp/v1/traces", "https://c/otlp/v1/traces"),
    ],
)
def test_an_endpoint_without_a_path_has_the_usual_one(endpoint, url):
    assert traces_url(endpoint) == url


@pytest.mark.slow
def test_who_has_it_off_imports_nothing_of_it():
    code = (
        "import sys, serve_app.tracing.delivery, serve_app.pipeline.pipeline\n"
        "print([x for x in sys.modules if x.startswith('opentelemetry.exporter')])"
    )

    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.stdout.strip() == "[]", done.stderr
