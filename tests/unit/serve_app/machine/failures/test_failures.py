"""Logs of failed starts are read as their cause, and other logs as none."""

import re
from pathlib import Path

import pytest
import yaml

from serve_app.machine.failures.fingerprint import row
from serve_app.machine.failures.reader import MAX_LOG_BYTES, read_failure, read_log
from serve_app.machine.failures.table import FINGERPRINTS
from serve_app.machine.start_progress import Progress, Seen

HERE = Path(__file__).parent
CORPUS = yaml.safe_load((HERE / "corpus.yml").read_text())
HEALTHY = (HERE / "healthy_start.log").read_text()


@pytest.mark.parametrize("case", CORPUS, ids=[case["case"] for case in CORPUS])
def test_each_log_is_read_as_its_cause(case):
    reading = read_failure(case["text"])

    assert reading.name == case["expect"]
    assert reading.cause and reading.fix
    assert reading.lane == case.get("lane")
    # Every group that a text names is there, and a lane's line names the lane.
    assert "{" not in reading.cause.replace("{'", "")
    if "lanes." in reading.fix:
        assert f"lanes.{case.get('lane', 'LANE')}." in reading.fix


@pytest.mark.parametrize("case", CORPUS, ids=[case["case"] for case in CORPUS])
def test_the_cause_is_found_within_a_whole_log(case):
    """Behind a start that went well so far, and before what a shutdown says."""
    ends = HEALTHY.splitlines(keepends=True)
    log = "".join(ends[:-10]) + case["text"] + "".join(ends[-10:])

    assert read_failure(log).name == case["expect"]


(RECORDED,) = [x for x in CORPUS if "recorded from Serve's controller" in x["said_by"]]
FRAMES = RECORDED["text"].partition("The above exception")[2].rpartition("TypeError:")[0]
"""What stands around every failed load under Ray, whatever failed."""


@pytest.mark.parametrize("case", CORPUS, ids=[case["case"] for case in CORPUS])
def test_the_frames_of_every_load_are_no_cause(case):
    assert "wait_for(self._start_engine" in FRAMES
    assert read_failure(FRAMES + case["text"]).name == case["expect"]


def test_an_unknown_failure_of_a_load_stays_unknown():
    reading = read_failure(FRAMES + "FrobnicationError: the flange is loose\n")
    assert reading.name is None
    assert reading.lines[-1] == "FrobnicationError: the flange is loose"


def test_no_cause_is_in_the_table_without_a_log_that_shows_it():
    shown = {case["expect"] for case in CORPUS}
    assert {known.name for known in FINGERPRINTS} - shown == set()


@pytest.mark.parametrize("lines", range(5, len(HEALTHY.splitlines()), 6))
def test_a_start_that_goes_well_is_read_as_no_cause(lines):
    """However far it is, its shutdown with Ray's talk of an OOM killer included."""
    log = "\n".join(HEALTHY.splitlines()[:lines])

    assert read_failure(log).name is None


@pytest.mark.parametrize(
    "line",
    [
        "INFO 11-30 [weight_utils.py:863] Checkpoint size: 0.50 GiB. Available RAM: 19 GiB.",
        "WARNING 11-30 [http] 429 from https://huggingface.co: Retrying in 1s [Retry 1/5].",
        "INFO 11-30 03:30:06 [fp8.py:508] Using DeepGEMM for FP8; quantization: fp8",
        "INFO 11-30 [selector.py] kv_cache_dtype=fp8, backend FLASHINFER",
        "(raylet) Raylet is terminated: (1) SIGKILL by the user or system OOM killer, (2) SEGV",
        "0 Workers (tasks / actors) killed due to memory pressure (OOM), 1 Workers crashed",
        "INFO Free memory on device (23.1/23.6 GiB) on startup. Desired GPU memory utilization",
        'POST /v1/chat/completions 400 "CUDA is out of my depth, and so is memory"',
    ],
)
def test_what_only_sounds_like_a_cause_is_none(line):
    assert read_failure(f"{HEALTHY}\n{line}\n").name is None


def test_an_unknown_failure_says_so_and_shows_what_the_log_says_last():
    log = f"{HEALTHY}\nTraceback (most recent call last):\nFrobnicationError: the flange is loose\n"

    told = read_failure(log).told()

    assert "not one that is known here" in told[0]
    assert told[-1].strip() == "FrobnicationError: the flange is loose"
    assert not re.search(r"\b(you|your)\b", " ".join(told), re.IGNORECASE)


def test_an_empty_log_has_no_last_words():
    assert read_failure("").told() == [
        "The cause is not one that is known here. The last that the log says of it:"
    ]


@pytest.mark.parametrize("secret", ["hf_AbCdEf0123456789", "pm-acme-Zk3j-x9", "Bearer ey.J0"])
def test_no_secret_of_a_log_is_shown(secret):
    log = f"FrobnicationError: could not read with {secret}\n"
    reading = read_failure(log)
    assert secret not in " ".join(reading.lines)
    assert "FrobnicationError" in reading.lines[-1]


def test_the_cause_comes_before_what_follows_from_it():
    log = (
        "(ServeReplica:pointsman:lane:heavy pid=3) ValueError: No available memory for the cache "
        "blocks. Try increasing\n"
        "RuntimeError: Engine core initialization failed. See root cause above.\n"
        "OSError: [Errno 98] Address already in use\n"
    )
    reading = read_failure(log)
    assert (reading.name, reading.lane) == ("no_room_for_kv", "heavy")


def test_what_is_captured_stands_in_the_fix():
    (case,) = [x for x in CORPUS if x["case"] == "window larger than the pool of a 4090"]
    reading = read_failure(case["text"], lane="heavy")
    assert reading.fix.startswith("lanes.heavy.max_model_len: 21120")
    assert "32768 tokens takes 4.0 GiB of KV cache, 2.58 are left" in reading.cause


def test_of_a_long_log_the_end_is_read(tmp_path):
    log = tmp_path / "serve.log"
    filler = "x" * 99 + "\n"
    log.write_text(
        "OSError: [Errno 28] No space left on device\n"
        + filler * (MAX_LOG_BYTES // 100 + 1)
        + "OSError: [Errno 24] Too many open files\n"
    )
    assert read_log(log).name == "too_many_files"


def test_a_text_that_names_what_the_pattern_lacks_is_refused():
    with pytest.raises(ValueError, match="no group 'port'"):
        row("x", "a(?P<b>c)", "{b}", "{port}")


def test_a_retried_replica_is_told_with_what_mends_it():
    """Serve tries three times: the operator need not wait for the third."""
    message = "A replica failed to start with exception. RuntimeError: see root cause above"
    log = [
        "(ServeReplica:pointsman:lane:other pid=1) OSError: [Errno 28] No space left on device",
        "(ServeReplica:pointsman:lane:chat pid=2) KeyError: 'invalid tool call parser: hermess (c",
    ]
    state = {"status": "UPDATING", "message": message, "replicas": [{"state": "STARTING"}]}
    apps = {"pointsman": {"status": "DEPLOYING", "deployments": {"lane:chat": state}}}

    _, fix = Progress(0.0).observe(Seen(apps, frozenset(), log), 1.0)

    assert "Fix: lanes.chat.engine_args.tool_call_parser: hermes" in fix
