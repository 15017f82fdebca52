"""Alert and recording rules, run by promtool on series."""

import subprocess
from itertools import groupby
from pathlib import Path

import pytest
import yaml

from serve_app.observe.table import ALERTS
from tests.panels import program
from tests.unit.serve_app.observe.rule_cases import CASES

ROOT = Path(__file__).parents[4]
FOLDER = ROOT / "configs" / "prometheus"
ROWS = {alert.name: alert for alerts in ALERTS.values() for alert in alerts}
GROUPS = ["pointsman.limits", "pointsman.lanes", "pointsman.slo"]


def promtool(*args) -> None:
    """Run promtool; fails with what it said."""
    command = [program("promtool"), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(done.stdout + done.stderr, pytrace=False)


def expected(case) -> dict:
    """The alert as Prometheus has to send it."""
    row = ROWS[case.alert]
    said = {"summary": case.summary, "action": row.action, "source": row.source}
    return {
        "exp_labels": {"severity": row.severity, **case.labels},
        "exp_annotations": {**said, "runbook_url": f"docs/runbooks/{case.alert}.md"},
    }


def asked(case, at, alerts) -> dict:
    return {"alertname": case.alert, "eval_time": at, "exp_alerts": alerts}


def series(values) -> list[dict]:
    return [{"series": name, "values": value} for name, value in values.items()]


def given_to_promtool(case):
    """What promtool runs: it fires when it should and not before; with less it does not."""
    yield {
        "name": f"{case.alert} fires",
        "interval": case.every,
        "input_series": series(case.series),
        "alert_rule_test": [
            asked(case, case.not_yet, []),
            asked(case, case.fires, [expected(case)]),
        ],
    }
    for number, values in enumerate(case.below):
        yield {
            "name": f"{case.alert} does not fire ({number})",
            "interval": case.every,
            "input_series": series(values),
            "alert_rule_test": [asked(case, at, []) for at in (case.fires, "4m")],
        }


def run(folder, every, tests, group=None) -> None:
    """Run promtool with the shipped rules; of the alerts with one group, which takes less time."""
    shipped = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    alerts = folder / "alerts.yml"
    chosen = [x for x in shipped if group in (None, x["name"])]
    alerts.write_text(yaml.safe_dump({"groups": chosen}))
    content = {
        "rule_files": [str(FOLDER / "recording.yml"), str(alerts)],
        "evaluation_interval": every,
        "group_eval_order": [*GROUPS, *(x["name"] for x in chosen)],
        "tests": tests,
    }
    path = folder / f"rules-{every}.yml"
    path.write_text(yaml.safe_dump(content))
    promtool("test", "rules", path)


@pytest.mark.parametrize("group", ALERTS)
def test_every_alert_fires_when_it_should_and_not_with_less(group, tmp_path):
    names = {alert.name for alert in ALERTS[group]}
    cases = sorted((x for x in CASES if x.alert in names), key=lambda case: case.every)
    for every, same in groupby(cases, key=lambda case: case.every):
        tests = [test for case in same for test in given_to_promtool(case)]
        run(tmp_path, every, tests, group)


def test_every_alert_has_a_case_with_and_one_without():
    assert {case.alert for case in CASES} == set(ROWS)
    assert all(case.below for case in CASES)


def test_a_wrong_expectation_is_told(tmp_path):
    """What runs the cases can fail."""
    case = next(case for case in CASES if case.alert == "KvCacheFull")
    test = next(given_to_promtool(case))
    test["alert_rule_test"].append(asked(case, "45s", [expected(case)]))

    with pytest.raises(pytest.fail.Exception, match="KvCacheFull"):
        run(tmp_path, "15s", [test])


def test_prometheus_takes_its_files():
    """They are sound, and no rule stands there twice."""
    promtool("check", "config", "--lint-fatal", FOLDER / "prometheus.yml")
    promtool("check", "rules", "--lint-fatal", FOLDER / "alerts.yml", FOLDER / "recording.yml")


def test_recorded_series_are_what_they_are_named(tmp_path):
    """Two replicas with three and five running, seven that wait here, half of them cached."""
    given = {
        'vllm:num_requests_running{lane="chat",replica="r1"}': "3+0x20",
        'vllm:num_requests_running{lane="chat",replica="r2"}': "5+0x20",
        'vllm:num_requests_waiting{lane="chat",replica="r1"}': "1+0x20",
        'vllm:num_requests_waiting{lane="chat",replica="r2"}': "0+0x20",
        'pointsman_queue_depth{lane="chat",tier="free",ingress="i1"}': "7+0x20",
        'pointsman_active_sessions{lane="chat",ingress="i1"}': "6+0x20",
        'pointsman_active_sessions{lane="chat",ingress="i2"}': "4+0x20",
        'vllm:prefix_cache_queries_total{lane="chat",replica="r1"}': "0+100x20",
        'vllm:prefix_cache_hits_total{lane="chat",replica="r1"}': "0+50x20",
        'pointsman_escalation_share{lane="quality",ingress="i1"}': "0.02+0x20",
        'pointsman_escalation_share{lane="quality",ingress="i2"}': "0.04+0x20",
    }
    wanted = {
        "lane:replicas:count": ('{lane="chat"}', 2),
        "lane:requests_running:sum": ('{lane="chat"}', 8),
        "lane:requests_running:per_replica": ('{lane="chat"}', 4),
        "lane:requests_waiting:sum": ('{lane="chat"}', 8),
        "lane:requests_waiting:per_replica": ('{lane="chat"}', 4),
        "lane:active_sessions:per_replica": ('{lane="chat"}', 5),
        "lane:prefix_cache_hits:ratio_5m": ('{lane="chat"}', 0.5),
        "lane:escalation_share:max": ('{lane="quality"}', 0.04),
    }
    samples = [
        {
            "expr": name,
            "eval_time": "5m",
            "exp_samples": [{"labels": f"{name}{labels}", "value": value}],
        }
        for name, (labels, value) in wanted.items()
    ]
    test = {"interval": "15s", "input_series": series(given), "promql_expr_test": samples}

    run(tmp_path, "15s", [test])
