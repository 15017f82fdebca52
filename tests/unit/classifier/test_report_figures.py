"""The report's figures: what it reads of logs and rows, and what it counts."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from classifier.report import figures, traffic
from classifier.report.charts import Line, line_chart, linear_axis
from classifier.report.labelled import of_data
from classifier.report.page import page
from classifier.report.traffic import read_traffic
from classifier.report.windows import halves, of_traffic
from classifier.training.dataset import from_rows, scores_of
from tests.unit.classifier.report_made import FakeArtifact, labelled, request, write_log

# -- reading the log ---------------------------------------------------------


def test_bad_lines_are_counted_and_the_others_read(tmp_path: Path) -> None:
    """Torn, foreign, binary and endless lines do not stop the reading."""
    good = json.dumps(request(0)).encode()
    endless = b'{"tenant": "' + b"x" * 3 * traffic.MAX_LINE_BYTES
    bad = [b'{"torn', b"[1]", b"\xff\xfe", b"[" * 5000, b"1" * 5000, endless]
    log = tmp_path / "requests-a.jsonl"
    log.write_bytes(b"\n".join([good, *bad, b"", good]))

    found = read_traffic([log])

    assert (len(found), found.bad_lines) == (2, len(bad))


def test_missing_and_odd_fields_are_missing_values(tmp_path: Path) -> None:
    """Whatever a column holds that is no number or name, the line still counts."""
    odd = {"time": "yesterday", "score": 1.5, "threshold": "0.5", "tenant": 7}
    huge = {"score": True, "threshold": 10**400, "time": None}

    found = read_traffic([write_log(tmp_path / "log", [{}, odd, huge])])

    assert (len(found), found.bad_lines) == (3, 0)
    for column in (found.time_s, *found.numbers.values()):
        assert np.isnan(column).all()
    assert set(found.codes["tenant"]) == {traffic.MISSING}


def test_a_directory_stands_for_its_logs_each_once(tmp_path: Path, monkeypatch) -> None:
    """Rotated files too; other files not."""
    for number, name in enumerate(("requests-a.jsonl", "requests-a.jsonl.1", "other.jsonl")):
        write_log(tmp_path / name, [request(number)])

    monkeypatch.chdir(tmp_path)
    found = read_traffic([tmp_path, Path("requests-a.jsonl")])

    assert (len(found), found.files) == (2, 2)


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("tokyo")
def test_times_are_read_in_any_zone(tmp_path: Path) -> None:
    """A time without a zone is in UTC."""
    times = ("2026-11-01T12:00:00Z", "2026-11-01T13:00:00+01:00", "2026-11-01T12:00:00")
    rows = [request(0, time=moment) for moment in times]

    found = read_traffic([write_log(tmp_path / "log", rows)])

    assert len(set(found.time_s.tolist())) == 1


def test_names_and_bytes_a_request_are_bounded(tmp_path: Path, monkeypatch) -> None:
    """More names than fit share one; a request takes at most 64 bytes."""
    monkeypatch.setattr(traffic, "MAX_NAMES", 2)
    rows = [request(n, tenant=name) for n, name in enumerate(("a", "b", "c", "d", "x" * 999))]

    found = read_traffic([write_log(tmp_path / "log", rows)])

    assert found.counted("tenant") == [(traffic.OTHERS, 3), ("a", 1), ("b", 1)]
    columns = [found.time_s, *found.numbers.values(), *found.codes.values()]
    assert sum(column.itemsize for column in columns) <= 64


# -- figures of the log ------------------------------------------------------


def test_shares_are_of_the_scored_requests(tmp_path: Path) -> None:
    """Sticky counts as escalated, yielded does not; unscored requests count in nothing."""
    rows = [
        request(1, reason="complex", score=0.9),
        request(2, reason="sticky", score=0.1),
        request(3, reason="yielded", score=0.6),
        request(4, reason="default", score=0.2),
        request(5, reason="complex", score=None),
    ]

    found = of_traffic(read_traffic([write_log(tmp_path / "log", rows)]), None)

    assert (found["requests"], found["scored"]) == (5, 4)
    assert found["escalated"] == pytest.approx(0.5)
    assert found["above"] == pytest.approx(0.5)
    assert sum(group["rows"] for group in found["by_reason"]) == 4


def test_halves_are_by_time_and_not_by_place_in_the_file(tmp_path: Path) -> None:
    """The later requests stand first in the file."""
    rows = [request(n) for n in (*range(50, 100), *range(50))] + [request(0, time=None)]

    before, after = halves(read_traffic([write_log(tmp_path / "log", rows)]))

    assert (len(before), len(after)) == (50, 50)
    assert before.time_s.max() < after.time_s.min()


def test_drift_between_two_logs_is_found(tmp_path: Path) -> None:
    """Scores that moved, a share that rose and a new tenant."""
    calm = read_traffic([write_log(tmp_path / "calm", [request(n) for n in range(600)])])
    rows = [request(n, tenant="new", score=0.7, reason="complex") for n in range(600)]
    moved = read_traffic([write_log(tmp_path / "moved", rows)])

    same, drift = (of_traffic(log, calm)["drift"] for log in (calm, moved))

    assert same["psi"] == pytest.approx(0.0, abs=1e-12)
    assert same["before"]["escalated"] == same["after"]["escalated"] == pytest.approx(0.1)
    assert drift["psi"] > 1.0
    assert drift["ks"]["ks"] == pytest.approx(0.9)
    assert drift["after"]["escalated"] == 1.0
    assert drift["tenants"][0]["before"] == {
        "scored": 0,
        "escalated": None,
        "interval": [0.0, 1.0],
    }


def test_steps_of_time_hold_every_request_and_their_thresholds(tmp_path: Path) -> None:
    """The topmost lane's threshold is told apart."""
    rows = [request(n, threshold=0.3 + n / 1000) for n in range(100)]
    rows[40] |= {"reason": "frontier", "threshold": 0.9}

    drift = of_traffic(read_traffic([write_log(tmp_path / "log", rows)]), None)["drift"]

    steps = drift["before"]["over_time"] + drift["after"]["over_time"]
    assert sum(step["requests"] for step in steps) == 100
    assert [s["top_threshold"] for s in steps if s["top_threshold"] is not None] == [0.9]
    levels = [s["thresholds"][1] for s in steps if s["thresholds"]]
    assert levels == sorted(levels)
    assert levels[-1] == pytest.approx(0.399)


def test_the_shadow_is_compared_within_one_pair_of_versions(tmp_path: Path) -> None:
    """Scores of other versions are left out; a shadow that turns the order disagrees."""
    rows = [
        request(n, score=n / 100, shadow_score=1 - n / 100, shadow_classifier="v2")
        for n in range(100)
    ]
    rows += [request(n, shadow_score=0.5, shadow_classifier="v3") for n in range(5)]

    found = of_traffic(read_traffic([write_log(tmp_path / "log", rows)]), None)["shadow"]

    assert (found["shadow"], found["requests"], found["other_versions"]) == ("v2", 100, 5)
    assert found["rank_correlation"] == pytest.approx(-1.0)
    assert found["served_above"] == pytest.approx(0.5)
    assert found["shadow_above"] == pytest.approx(0.51)
    assert found["differ_at_threshold"] == pytest.approx(0.99)
    assert found["at_shares"][2]["differ"] == pytest.approx(0.1)
    assert found["at_shares"][2]["same_of_top"] == pytest.approx(0.0)
    assert sum(map(sum, found["grid"])) == 100
    assert found["grid"][-1][0] > 0


# -- figures of labelled rows ------------------------------------------------


def test_curves_calibration_and_shares_of_labelled_rows() -> None:
    """The classifier finds the long prompts, which hold the whole gap."""
    artifact = FakeArtifact(training={"rows": {"made": 60}})
    data = from_rows(labelled())

    found = of_data(data, scores_of(artifact.scorer(), data), artifact)

    (made,) = found["quality"]
    assert made["trained_on"]
    assert made["methods"]["random"]["apgr"] == pytest.approx(0.5)
    assert made["methods"]["oracle"]["cpt50"] == pytest.approx(0.125)
    assert 0.6 < made["methods"]["classifier"]["apgr"] < made["methods"]["oracle"]["apgr"]
    assert found["calibration"]["rows"] == 60
    assert {row["tier"]: row["above"] for row in found["tiers"]} == {"no tier": 0.5, "easy": 0.0}


def test_a_source_without_a_gap_has_no_curve() -> None:
    """Nothing to recover: said, not divided by."""
    data = from_rows([{"text": "a", "weak": 1.0, "strong": 0.0}] * 3)
    artifact = FakeArtifact()

    found = of_data(data, scores_of(artifact.scorer(), data), artifact)

    assert found["quality"][0]["methods"] is None
    report = {"artifact": {"version": "v"}, "data": found, "traffic": None, "warnings": []}
    assert "there is no gap to recover" in page(report)


def test_ties_share_the_mean_of_their_ranks() -> None:
    """As Spearman's correlation is defined."""
    found = figures.rank_correlation(np.array([1.0, 1, 2, 3]), np.array([1.0, 2, 3, 4]))

    assert found == pytest.approx(0.9486833)


def test_an_interval_is_wilsons() -> None:
    """Five of a hundred, as published tables have it."""
    assert figures.share_interval(5, 100) == pytest.approx((0.0215, 0.1118), abs=1e-4)


def test_the_grid_has_the_shadow_upwards(tmp_path: Path) -> None:
    """Row is the shadow's score, column the served one."""
    row = request(0, score=0.95, shadow_score=0.05, shadow_classifier="v2")

    found = of_traffic(read_traffic([write_log(tmp_path / "log", [row])]), None)

    assert found["shadow"]["grid"][1][28] == 1


def ticks_of(chart: str) -> list[str]:
    return re.findall(r"<text[^>]*>([-\d.\N{MINUS SIGN}]+)</text>", chart)


def test_ticks_say_their_value() -> None:
    """A step of 2.5 keeps its half."""
    axis = linear_axis("x", 0.0, 15.0)

    ticks = ticks_of(line_chart("made", axis, axis, []))

    assert ticks[:3] == ["0.0", "2.5", "5.0"]


def test_a_line_breaks_where_a_value_is_missing() -> None:
    """No zero stands in for it."""
    axis = linear_axis("x", 0.0, 1.0)
    line = Line("made", [0.0, 0.2, 0.4, 0.6], [0.5, 0.5, float("nan"), 0.5])

    chart = line_chart("made", axis, axis, [line])

    (path,) = re.findall(r'd="([^"]*)"[^>]*stroke: var\(--c0\)', chart)
    assert re.sub(r"[^ML]", "", path) == "MLM"
