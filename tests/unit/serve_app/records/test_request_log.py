"""The request log: whole lines, bounded files, no prompt."""

import json
import os
import stat
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.bodies.parsed_request import Prompt
from serve_app.config.records import RequestLogConfig
from serve_app.records.request_log import RequestLog, log_line
from tests.unit.serve_app.records.records import record

RECORD = record(prompt=Prompt("be kind", ("my secret",), 100, 2), keep_prompt_days=3)
NAMES = """
time request_id tenant tier lane reason score threshold classifier shadow_score
shadow_classifier code prompt_tokens completion_tokens duration_s ttft_s background
model tool_outcomes tool_repairs trace_id cached_tokens session propensity
experiment arm
"""
LINE_BYTES = len(log_line(RECORD))


def make(folder, lines_a_file=3, **config) -> RequestLog:
    # Below the smallest size that a file may set: a test writes few lines.
    settings = RequestLogConfig(path="log", **config).model_copy(
        update={"max_bytes": lines_a_file * LINE_BYTES}
    )
    return RequestLog(folder / "log", "i1", settings)


def ids(path) -> list[str]:
    return [json.loads(line)["request_id"] for line in path.read_bytes().splitlines()]


@pytest.mark.security
def test_a_line_has_the_fields_of_the_interface_and_nothing_else():
    """`classifier calibrate --traffic` reads these names; the prompt is not among them."""
    line = log_line(RECORD)

    data = json.loads(line)
    assert list(data) == NAMES.split()
    assert data["time"] == "2026-03-04T05:06:07.000890Z"
    assert (data["score"], data["ttft_s"], data["shadow_score"]) == (0.25, 0.25, None)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert b"secret" not in line and b"kind" not in line


@pytest.mark.security
@given(st.text(st.characters(codec="latin-1"), min_size=1, max_size=128))
def test_any_request_id_stays_on_its_line(request_id):
    """A caller chooses it: no character of it ends the line."""
    line = log_line(RECORD._replace(request_id=request_id))

    assert line.count(b"\n") == 1
    assert json.loads(line)["request_id"] == request_id


def test_a_full_file_is_rotated_and_the_oldest_goes(tmp_path):
    """`keep` full files stay beside the one that is written; no line is lost between."""
    log = make(tmp_path, keep=2)

    for number in range(11):
        log.write([RECORD._replace(request_id=f"{number:03}")])

    files = {path.name: ids(path) for path in (tmp_path / "log").iterdir()}
    assert files == {
        "requests-i1.jsonl": ["009", "010"],
        "requests-i1.jsonl.1": ["006", "007", "008"],
        "requests-i1.jsonl.2": ["003", "004", "005"],
    }


@given(batches=st.lists(st.integers(1, 9), max_size=12), keep=st.integers(0, 3))
def test_files_stay_within_their_size_and_number(tmp_path_factory, batches, keep):
    """Whatever the batches are: the newest lines, in order, in bounded files."""
    folder = tmp_path_factory.mktemp("log")
    log, written = make(folder, keep=keep), []

    for batch in batches:
        records = [RECORD._replace(request_id=f"{len(written) + n:03}") for n in range(batch)]
        written += [record.request_id for record in records]
        log.write(records)

    files = sorted((folder / "log").glob("*"), reverse=True)
    found = [line for path in files for line in ids(path)]
    assert found == written[len(written) - len(found) :]
    assert len(files) <= keep + 1
    assert all(path.stat().st_size <= 3 * LINE_BYTES for path in files)
    assert len(found) >= min(len(written), 1 + 3 * keep)


def test_a_line_longer_than_a_file_is_written_alone(tmp_path):
    """Rather a file that is too long than a record that is lost, or no end of rotating."""
    log = make(tmp_path, lines_a_file=0, keep=1)

    log.write([RECORD, RECORD._replace(request_id="r-2")])

    assert ids(tmp_path / "log" / "requests-i1.jsonl") == ["r-2"]
    assert ids(tmp_path / "log" / "requests-i1.jsonl.1") == ["r-1"]


def test_a_restarted_writer_goes_on_with_its_file(tmp_path):
    """What is there counts towards the size."""
    make(tmp_path).write([RECORD] * 2)
    make(tmp_path).write([RECORD] * 2)

    folder = tmp_path / "log"
    assert len(ids(folder / "requests-i1.jsonl")) == 1
    assert len(ids(folder / "requests-i1.jsonl.1")) == 3


@pytest.mark.security
def test_the_log_is_its_owners_alone(tmp_path):
    """It names tenants."""
    make(tmp_path).write([RECORD])

    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "log" / "requests-i1.jsonl").stat().st_mode) == 0o600


def test_files_of_replicas_that_are_gone_are_deleted_in_time(tmp_path):
    """Every deployment has replicas of new names: their files must not pile up."""
    log = make(tmp_path, keep_days=30)
    log.write([RECORD])
    for name, age_days in (("requests-old.jsonl", 31), ("requests-new.jsonl.4", 29), ("mine", 99)):
        path = tmp_path / "log" / name
        path.touch()
        seconds = (datetime.now(UTC) - timedelta(days=age_days)).timestamp()
        os.utime(path, (seconds, seconds))

    log.prune()

    left = {path.name for path in (tmp_path / "log").iterdir()}
    assert left == {"requests-i1.jsonl", "requests-new.jsonl.4", "mine"}


def test_pruning_before_the_first_line_finds_nothing(tmp_path):
    """The directory is made when there is something to write."""
    make(tmp_path).prune()

    assert not (tmp_path / "log").exists()
