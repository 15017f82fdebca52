"""The report's page and its command: what is shown, escaped and refused."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from classifier.report import command
from tests.unit.classifier.report_made import FakeArtifact, labelled, request, write_log

HOSTILE = "<script>alert('x')</script>\"&\ud800"


@pytest.fixture(autouse=True)
def fake_artifact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "load_artifact", lambda _: FakeArtifact())


def run(*argv: object) -> int:
    parser = argparse.ArgumentParser()
    command.add_report(parser.add_subparsers())
    args = parser.parse_args(["report", *map(str, argv)])
    return args.func(args)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    rows = [
        request(n, shadow_score=0.4, shadow_classifier=HOSTILE, tenant=HOSTILE) for n in range(200)
    ]
    name = HOSTILE.replace("\ud800", "")
    data = [{**row, "source": name, "tier": name} for row in labelled()]
    return {
        "log": write_log(tmp_path / "requests-a.jsonl", rows),
        "data": write_log(tmp_path / "data.jsonl", data),
        "out": tmp_path / "report.html",
    }


def test_the_page_has_every_section_and_loads_nothing(files: dict[str, Path]) -> None:
    """One file without script or address; each chart is well-formed and explained."""
    argv = ("--data", files["data"], "--traffic", files["log"], "--against", files["log"])

    status = run(*argv, "--out", files["out"])

    text = files["out"].read_text(encoding="utf-8")
    assert status == 0
    assert not re.search(r"<script|<link|<img|https?:|\burl\(|@import|\bsrc=|\bon\w+=", text)
    assert 'class="missing"' not in text
    charts = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(charts) == text.count("<figcaption>") == 13
    for chart in charts:
        assert not re.search(r"\bnan\b|inf\b", chart)
        ET.fromstring(chart)


def test_a_hostile_name_is_text_and_nothing_else(files: dict[str, Path]) -> None:
    """In tables, legends, axes and warnings, whatever stands in it."""
    run("--data", files["data"], "--traffic", files["log"], "--out", files["out"])

    text = files["out"].read_text(encoding="utf-8")

    assert "<script" not in text
    assert "alert('x')" not in text
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;&quot;&amp;" in text


@pytest.mark.parametrize(
    ("given", "missing"),
    [((), 4), (("data",), 2), (("traffic",), 2)],
    ids=["nothing", "data", "traffic"],
)
def test_what_is_not_given_is_said(files: dict[str, Path], given: tuple, missing: int) -> None:
    """A section without its data names the option that brings it."""
    paths = {"data": files["data"], "traffic": files["log"]}
    argv = [part for name in given for part in (f"--{name}", paths[name])]

    assert run(*argv, "--out", files["out"]) == 0

    text = files["out"].read_text(encoding="utf-8")
    assert text.count('class="missing"') == missing
    for name in {"data", "traffic"} - set(given):
        assert f"Name them with --{name}." in text


def test_json_has_the_figures_of_the_page(files: dict[str, Path], capsys) -> None:
    """Strict JSON, without NaN."""
    assert run("--traffic", files["log"], "--out", files["out"], "--json") == 0

    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found["traffic"]["requests"] == 200
    assert found["data"] is None
    assert any("fewer than 500" in warning for warning in found["warnings"])


@pytest.mark.parametrize(
    ("argv", "status", "word"),
    [
        (("--traffic", "absent.jsonl"), 1, "absent.jsonl"),
        (("--traffic", "."), 1, "no requests-"),
        (("--against", "x"), 2, "--traffic"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, monkeypatch, capsys, argv, status, word) -> None:
    """One line, no traceback."""
    monkeypatch.chdir(tmp_path)

    assert run(*argv, "--out", "report.html") == status

    assert word in capsys.readouterr().err


@pytest.mark.parametrize("rows", [[], [{}], [request(0)], [request(0, time=None)] * 3])
def test_tiny_logs_make_a_page(tmp_path: Path, rows: list) -> None:
    """Nothing divides by zero."""
    log = write_log(tmp_path / "log", rows)

    assert run("--traffic", log, "--against", log, "--out", tmp_path / "report.html") == 0
    assert run("--traffic", log, "--out", tmp_path / "report.html") == 0


def test_no_other_command_waits_for_the_plotting_library() -> None:
    """matplotlib is imported where a page is drawn."""
    code = (
        "import sys, classifier.cli, classifier.report.windows\n"
        "sys.exit(bool({'matplotlib', 'sklearn', 'torch'} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_chart_has_the_colours_of_the_page(files: dict[str, Path]) -> None:
    """Light and dark: no colour of a chart is fixed, and every name of one is the page's."""
    run("--data", files["data"], "--traffic", files["log"], "--out", files["out"])

    style, *charts = re.split(r"(?=<svg)", files["out"].read_text(encoding="utf-8"))
    used = set(re.findall(r"var\(--(\w+)\)", "".join(charts)))
    assert not re.search(r"#[0-9a-f]{6}", "".join(charts))
    assert used >= {"ink", "soft", "line", "c0", "c1"}
    assert all(f"--{name}:" in style for name in used)


def test_cells_and_cut_names_say_more_when_the_pointer_rests_on_them(
    files: dict[str, Path], tmp_path: Path
) -> None:
    """A count for each cell of the heat map, and a name in full."""
    name = "a tenant whose name is too long for its bar"
    rows = [request(n, tenant=name, shadow_score=0.4, shadow_classifier="s") for n in range(200)]
    log = write_log(tmp_path / "requests-b.jsonl", rows)

    run("--traffic", log, "--out", files["out"])

    titles = re.findall(r"<title>([^<]*)</title>", files["out"].read_text(encoding="utf-8"))
    assert name in titles
    cells = [int(title.split()[0]) for title in titles if title.endswith(" requests")]
    assert sum(cells) == 200
