"""Metric objects, and the joining of Prometheus texts."""

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from serve_app.metrics import (
    MAX_TENANT_LABELS,
    OTHER,
    Metrics,
    label_exposition,
    merge_expositions,
)

ENGINE = """\
# HELP vllm:num_requests_running Running.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a b"} 2.0
# HELP up Up.
# TYPE up gauge
up 1.0
# HELP vllm:ttft_seconds TTFT.
# TYPE vllm:ttft_seconds histogram
vllm:ttft_seconds_bucket{le="1.0"} 1.0
vllm:ttft_seconds_bucket{le="+Inf"} 3.0
vllm:ttft_seconds_count 3.0
vllm:ttft_seconds_sum 4.5
"""


def merged(*labels):
    """One engine's text from as many sources as there are labels."""
    return merge_expositions([label_exposition(ENGINE, x) for x in labels])


def families(text):
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_joined_texts_parse_and_carry_the_labels_of_their_source():
    """Every sample of every part is there once, told apart by the added labels."""
    found = families(merged(*({"lane": "chat", "replica": name} for name in ("r1", "r2"))))

    running = found["vllm:num_requests_running"].samples
    assert [sample.labels for sample in running] == [
        {"lane": "chat", "replica": name, "engine": "0", "model_name": "a b"}
        for name in ("r1", "r2")
    ]
    assert [s.labels for s in found["up"].samples] == [
        {"lane": "chat", "replica": name} for name in ("r1", "r2")
    ]
    assert len(found["vllm:ttft_seconds"].samples) == 8


def test_headers_stand_once_and_before_their_samples():
    """Prometheus refuses a family that is announced twice."""
    lines = merged({"a": "1"}, {"a": "2"}).splitlines()

    headers = [line for line in lines if line.startswith("#")]
    assert len(headers) == len(set(headers)) == 6
    for family in ("vllm:num_requests_running", "up", "vllm:ttft_seconds"):
        block = [i for i, line in enumerate(lines) if family in line.split("{")[0]]
        assert block == list(range(block[0], block[0] + len(block)))


def test_a_family_told_in_two_ways_keeps_the_first():
    """Two engine versions may word a help text differently."""
    other = ENGINE.replace("Running.", "Requests running.")

    text = merge_expositions([ENGINE, other])

    assert "Requests running." not in text
    assert text.count("# HELP vllm:num_requests_running ") == 1


def test_without_labels_to_add_samples_stay_as_they_are():
    """Merging one text with no labels changes nothing."""
    assert merge_expositions([label_exposition(ENGINE, {})]) == ENGINE


ODD = """\
up 3
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="1",said="# HELP {x} \\n# TYPE"} 7
# a remark
# HELP untyped_total Only a help.
untyped_total 4
# HELP empty No samples.
# TYPE empty gauge
# HELP vllm:ttft_seconds TTFT.
# TYPE vllm:ttft_seconds histogram
vllm:ttft_seconds_count 1
# TYPE late gauge
late 5"""


def test_what_is_written_in_another_way_is_joined_all_the_same():
    """Samples without a header, half a header, remarks, no end of line, odd label values."""
    found = families(merge_expositions([ENGINE, label_exposition(ODD, {"a": "2"})]))

    values = {(s.name, s.labels.get("a")): s.value for x in found.values() for s in x.samples}
    assert values[("up", None)] == 1.0 and values[("up", "2")] == 3.0
    assert values[("vllm:num_requests_running", "2")] == 7.0
    assert values[("vllm:ttft_seconds_count", "2")] == 1.0
    assert values[("untyped_total", "2")] == 4.0 and values[("late", "2")] == 5.0
    assert found["vllm:num_requests_running"].samples[1].labels["said"] == "# HELP {x} \n# TYPE"
    assert len(values) == 10


def test_a_registry_renders_as_the_librarys_does():
    """Same families, same samples but the times at which counters were made."""
    metrics = Metrics()
    metrics.requests.labels("chat", "default", 'a "b"\\\n', "200").inc(2.5)
    metrics.ttft.labels("chat", "paid").observe(0.1)
    metrics.queue_depth.labels("chat", "paid").set(float("inf"))
    theirs = generate_latest(metrics.registry).decode()

    def told(text):
        found = families(text)
        return {
            (x.name, x.type, x.documentation, s.name, *sorted(s.labels.items()), s.value)
            for x in found.values()
            for s in x.samples
            if not s.name.endswith("_created")
        }

    for _ in range(2):
        assert told(metrics.render()) == told(theirs)
        assert "_created" not in metrics.render()


def test_nothing_merges_to_an_empty_text():
    """A deployment whose parts are all silent still answers."""
    assert families(merge_expositions([])) == {}


def test_our_own_metrics_survive_the_joining():
    """What one ingress replica renders parses after merging."""
    metrics = Metrics("0")
    metrics.requests.labels("chat", "default", "paid", "200").inc()
    metrics.ttft.labels("chat", "paid").observe(0.1)

    found = families(merge_expositions([metrics.render()]))

    totals = [s for s in found["pointsman_requests"].samples if s.name.endswith("_total")]
    assert totals[0].labels["ingress"] == "0"
    assert totals[0].value == 1.0


@pytest.mark.parametrize(
    "name",
    [
        "pointsman_requests_total",
        "pointsman_time_to_first_token_seconds",
        "pointsman_inter_token_latency_seconds",
        "pointsman_request_duration_seconds",
        "pointsman_stage_seconds",
        "pointsman_escalation_share",
        "pointsman_escalation_threshold",
        "pointsman_active_sessions",
        "pointsman_recent_sessions",
        "pointsman_session_affinity_total",
        "pointsman_tokens_total",
        "pointsman_ceiling_wait_seconds",
        "pointsman_shed_total",
        "pointsman_shed_order_violations_total",
        "pointsman_stream_recoveries_total",
        "pointsman_breakers_opened_total",
    ],
)
def test_the_metrics_of_the_interface_exist(name):
    """Dashboards and alerts rely on these names."""
    assert f"# TYPE {name} " in Metrics().render()


def test_tenants_beyond_the_bound_share_one_label():
    """Labels stay bounded however many tenants there are; the first keep theirs."""
    metrics = Metrics()
    names = [f"tenant-{i}" for i in range(MAX_TENANT_LABELS + 10)]

    labels = [metrics.tenant_label(name) for name in names]

    assert labels[:MAX_TENANT_LABELS] == names[:MAX_TENANT_LABELS]
    assert set(labels[MAX_TENANT_LABELS:]) == {OTHER}
    assert metrics.tenant_label("tenant-0") == "tenant-0"


def test_two_replicas_in_one_process_do_not_share_a_registry():
    """Metric objects belong to whoever built them."""
    first, second = Metrics(), Metrics()

    first.in_flight.inc()

    assert second.registry.get_sample_value("pointsman_requests_in_flight") == 0.0


def test_the_loop_s_histogram_renders_as_the_librarys_does() -> None:
    """Same lines as prometheus_client's own histogram, whatever is observed."""
    from prometheus_client import CollectorRegistry, Histogram, generate_latest

    from serve_app.metrics import LoopHistogram

    bounds = (0.01, 0.1, 1)
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = LoopHistogram("x", "A histogram.", ["lane"], bounds, ours)
    library = Histogram("x", "A histogram.", ["lane"], buckets=bounds, registry=theirs)
    for value in (0.001, 0.01, 0.05, 0.1, 0.5, 1, 7):
        mine.labels("chat").observe(value)
        library.labels("chat").observe(value)

    def lines(registry: CollectorRegistry) -> set[str]:
        text = generate_latest(registry).decode()
        return {line for line in text.splitlines() if "_created" not in line}

    assert lines(ours) == lines(theirs)
