"""The ids of traces: the same on every ingress replica, and nobody else's to guess."""

import random

import pytest

from serve_app.tracing.trace_ids import DERIVED_S, NAMED_S, TraceIds, is_kept, span_ids

DAY_NS, HOUR_NS = NAMED_S * 10**9, DERIVED_S * 10**9
MIDNIGHT_NS = 20_000 * DAY_NS


def of(tenant="acme", task="t", now_ns=MIDNIGHT_NS, *, secret="s", is_named=True) -> int:
    return TraceIds(secret).of_task(tenant, task, now_ns, is_named=is_named)


def test_a_task_has_the_same_trace_on_every_ingress_replica_all_day():
    assert of() == of(now_ns=MIDNIGHT_NS + DAY_NS - 1)
    assert of() != of(now_ns=MIDNIGHT_NS + DAY_NS)
    assert 0 < of() < 2**128


def test_what_only_begins_alike_is_one_trace_for_an_hour():
    assert of(is_named=False) == of(is_named=False, now_ns=MIDNIGHT_NS + HOUR_NS - 1)
    assert of(is_named=False) != of(is_named=False, now_ns=MIDNIGHT_NS + HOUR_NS)


@pytest.mark.security
@pytest.mark.parametrize(
    "other",
    [
        {"tenant": "guest"},
        {"task": "u"},
        {"secret": "other"},
        {"tenant": "acm", "task": "et"},
        {"tenant": "acmet", "task": ""},
    ],
)
def test_no_other_tenant_task_or_deployment_has_it(other):
    assert of() != of(**other)


def test_a_task_id_may_be_any_bytes():
    assert of(task=b"\xff\x00") != of(task=b"\xff\x01")
    assert of(task="\ud800") > 0


def test_the_share_that_is_kept_is_the_ratio():
    """And it is the same traces that OpenTelemetry's own sampler keeps."""
    from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

    rng = random.Random(5)
    ids = [rng.getrandbits(128) for _ in range(4000)]
    kept = [x for x in ids if is_kept(x, 0.25)]

    sampler = TraceIdRatioBased(0.25)
    assert kept == [x for x in ids if sampler.should_sample(None, x, "x").decision.is_sampled()]
    assert 900 < len(kept) < 1100
    assert all(is_kept(x, 1.0) for x in ids) and not any(is_kept(x, 0.0) for x in ids)


def test_the_id_of_a_span_is_never_0():
    assert span_ids(type("Zero", (), {"getrandbits": lambda _, __: 0})())() == 1
    assert 0 < span_ids(random.Random(1))() < 2**64
