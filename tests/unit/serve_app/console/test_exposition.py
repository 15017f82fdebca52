"""Reading the shown families of a Prometheus text."""

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from serve_app.console.exposition import read


def rows(text, family):
    return {
        tuple(v for k, v in row.items() if k != "value"): row["value"]
        for row in read(text).rows().get(family, [])
    }


def test_samples_of_ingress_replicas_add_up():
    text = (
        "# TYPE pointsman_queue_depth gauge\n"
        'pointsman_queue_depth{ingress="a",lane="chat",tier="paid"} 2.0\n'
        'pointsman_queue_depth{ingress="b",lane="chat",tier="paid"} 3.0\n'
        'pointsman_queue_depth{ingress="b",lane="chat",tier="free"} 1.0\n'
    )

    found = rows(text, "pointsman_queue_depth")

    assert found == {("chat", "paid"): 5.0, ("chat", "free"): 1.0}


def test_what_each_replica_has_of_the_whole_does_not_add_up():
    text = (
        "# TYPE pointsman_trigger_firing gauge\n"
        'pointsman_trigger_firing{ingress="a",trigger="x"} 1.0\n'
        'pointsman_trigger_firing{ingress="b",trigger="x"} 1.0\n'
        "# HELP pointsman_slo_budget_left_ratio x\n# TYPE pointsman_slo_budget_left_ratio gauge\n"
        'pointsman_slo_budget_left_ratio{ingress="a",objective="ttft",lane="c",tier="t"} 0.5\n'
        'pointsman_slo_budget_left_ratio{ingress="b",objective="ttft",lane="c",tier="t"} 0.2\n'
    )

    assert rows(text, "pointsman_trigger_firing") == {("x",): 1.0}
    assert rows(text, "pointsman_slo_budget_left_ratio") == {("ttft", "c", "t"): 0.2}


def test_labels_may_hold_anything():
    registry = CollectorRegistry()
    names = ('quo"te', "back\\slash", "new\nline", "comma,brace}", "\u2028separator", 'x="y"')
    tokens = Counter("pointsman_tokens", "x", ["tenant", "kind"], registry=registry)
    for number, name in enumerate(names, 1):
        tokens.labels(name, "prompt").inc(number)
    text = generate_latest(registry).decode()

    found = rows(text, "pointsman_tokens_total")

    assert found == {(name, "prompt"): number for number, name in enumerate(names, 1)}


def test_a_family_without_labels_is_read_with_and_without_those_of_the_merge():
    registry = CollectorRegistry()
    Gauge("pointsman_requests_in_flight", "x", registry=registry).set(3)
    alone = generate_latest(registry).decode()
    merged = "# TYPE pointsman_requests_in_flight gauge\n" + "".join(
        f'pointsman_requests_in_flight{{ingress="{x}"}} 3.0\n' for x in "ab"
    )

    assert rows(alone, "pointsman_requests_in_flight") == {(): 3.0}
    assert rows(merged, "pointsman_requests_in_flight") == {(): 6.0}


def test_it_is_known_which_ingress_replicas_answered():
    text = "# TYPE pointsman_requests_in_flight gauge\n" + "".join(
        f'pointsman_requests_in_flight{{ingress="{x}"}} 0.0\n' for x in "ba"
    )

    assert read(text).ingresses == {"a", "b"}


def test_histograms_keep_one_label_and_add_up_over_the_others():
    text = "# TYPE pointsman_time_to_first_token_seconds histogram\n" + "".join(
        f'pointsman_time_to_first_token_seconds_bucket{{lane="chat",le="{le}",tier="{tier}"}} {n}\n'
        for tier in ("a", "b")
        for le, n in (("+Inf", 5.0), ("0.8", 4.0), ("0.1", 1.0))
    )

    found = read(text).histograms()["pointsman_time_to_first_token_seconds"]["chat"]

    assert found == {"bounds": [0.1, 0.8, None], "counts": [2.0, 8.0, 10.0]}


def test_what_is_not_shown_or_no_sample_is_passed_over():
    text = (
        "# TYPE pointsman_other gauge\n"
        'pointsman_other{lane="chat"} 1\n'
        "# HELP pointsman_queue_depth x\n# TYPE pointsman_queue_depth gauge\n"
        "\npointsman_queue_depth\nvllm:whatever 3\n"
        'pointsman_queue_depth_created{lane="chat",tier="paid"} 9\n'
        'pointsman_queue_depth{lane="chat",tier="paid"} 4 1700000000\n'
        "# TYPE vllm:num_requests_running gauge\n# TYPE vllm:none gauge"
    )

    assert rows(text, "pointsman_queue_depth") == {("chat", "paid"): 4.0}
    assert set(read(text).samples) == {"pointsman_queue_depth"}
    assert not read("").samples
