"""`pointsman doctor`: exit status, JSON, and the log of a failed start."""

import json
from types import SimpleNamespace

import pytest

from serve_app.cli import main
from serve_app.commands import doctor as command
from serve_app.doctor.check import Check, Finding, Result, Section, failure, ok, warning
from serve_app.doctor.report import as_json, as_lines, exit_status

LOG = "(ServeReplica:pointsman:lane:chat pid=1) OSError: [Errno 28] No space left on device\n"


def finding(result, fix="", name="ports"):
    return Finding(name, Section.MACHINE, result, "as it is", fix)


@pytest.mark.parametrize(
    ("results", "plain", "strict"),
    [
        ([], 0, 0),
        ([Result.OK, Result.NOT_APPLICABLE], 0, 0),
        ([Result.OK, Result.WARNING], 0, 1),
        ([Result.FAILURE, Result.WARNING], 1, 1),
    ],
)
def test_the_exit_status_is_by_the_worst(results, plain, strict):
    found = [finding(result) for result in results]
    assert exit_status(found, strict=False) == plain
    assert exit_status(found, strict=True) == strict


def test_json_has_the_older_keys_and_the_newer_ones():
    (told,) = json.loads(as_json([finding(Result.WARNING, "do this")]))
    assert told == {
        "check": "ports",
        "ok": True,
        "detail": "warning: as it is",
        "section": "machine",
        "result": "warning",
        "fix": "do this",
    }
    assert [x["ok"] for x in json.loads(as_json([finding(x) for x in Result]))] == [
        True,
        True,
        False,
        True,
    ]


def test_lines_have_a_heading_a_section_and_the_fix_below():
    told = list(as_lines([finding(Result.OK), finding(Result.FAILURE, "kill 7", "clock")]))
    assert told == [
        "machine:",
        "ok    ports: as it is",
        "FAIL  clock: as it is",
        "      fix: kill 7",
        "1 ok, 0 warning, 1 failure, 0 not applicable",
    ]


def test_a_check_that_raises_fails_with_its_own_fix():
    def raises():
        raise OSError("no such thing")

    found = Check("x", Section.FILES, raises, "make one").run()
    assert (found.result, found.detail, found.fix) == (Result.FAILURE, "no such thing", "make one")


@pytest.fixture
def examined(monkeypatch):
    """Instead of this machine's: what a test says."""

    def use(*verdicts):
        found = [Check(str(i), Section.FILES, lambda v=v: v).run() for i, v in enumerate(verdicts)]
        monkeypatch.setattr(command, "examine", lambda places, reader: iter(found))

    return use


@pytest.mark.parametrize(
    ("verdict", "options", "status"),
    [
        (ok("fine"), [], 0),
        (warning("hm", "do"), [], 0),
        (warning("hm", "do"), ["--strict"], 1),
        (failure("no", "do"), [], 1),
    ],
)
def test_the_command_ends_by_what_was_found(examined, capsys, verdict, options, status):
    examined(verdict)
    assert main(["doctor", *options]) == status
    said = capsys.readouterr().out
    assert verdict.detail in said
    assert "doctor --live` asks the one that runs" in said


def test_a_card_that_is_not_known_is_named(examined, capsys, monkeypatch):
    examined(ok("fine"))
    assert main(["doctor", "--card", "rtx3009"]) == 1
    assert "did you mean 'rtx3090'" in capsys.readouterr().err
    seen = []
    monkeypatch.setattr(command, "examine", lambda places, reader: seen.append(places.card) or [])
    assert main(["doctor", "--card", "rtx3090"]) == 0
    assert seen[0].kind == "GeForce-RTX-3090"


def test_a_running_deployment_is_asked_only_when_told_to(examined, capsys, monkeypatch):
    examined(ok("fine"))
    monkeypatch.setattr(command, "request_bytes", lambda *_, **__: pytest.fail("was asked"))
    assert main(["doctor", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[-1]["section"] == "deployment"
    assert rows[-1]["result"] == "not applicable"


def test_live_asks_with_the_operator_s_key_and_survives_no_answer(examined, capsys, monkeypatch):
    examined(ok("fine"))
    asked = []

    def request(args, method, path, body, *, operates, within_s):
        asked.append((method, path, operates))
        raise command.CommandError("nothing answers at http://127.0.0.1:1: is it running?")

    monkeypatch.setattr(command, "request_bytes", request)
    url = "http://127.0.0.1:1"
    assert main(["doctor", "--live", "--config", "local", "--json", "--url", url]) == 1
    rows = {row["check"]: row for row in json.loads(capsys.readouterr().out)}
    assert "is it running?" in rows["ready"]["detail"]
    assert ("GET", "/metrics", True) in asked


def test_a_log_is_read_as_its_cause(tmp_path, capsys):
    log = tmp_path / "serve.log"
    log.write_text(LOG)
    assert main(["doctor", "--log", str(log)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Cause: a disk is full")
    assert "Fix:   df -h; point HF_HOME" in said

    assert main(["doctor", "--log", str(log), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["cause"], told["lane"]) == ("disk_full", "chat")


def test_a_log_of_no_known_cause_is_said_to_be(tmp_path, capsys):
    log = tmp_path / "serve.log"
    log.write_text("FrobnicationError: the flange is loose\n")
    assert main(["doctor", "--log", str(log)]) == 1
    assert "the flange is loose" in capsys.readouterr().out
    assert main(["doctor", "--log", str(tmp_path / "missing")]) == 1
    assert "missing: No such file" in capsys.readouterr().err


def test_arguments_of_a_fleet_that_cannot_be_read_hide_no_check_of_the_machine(tmp_path, capsys):
    path = tmp_path / "fleet.yaml"
    path.write_text("name: a\nname: b\n")
    args = SimpleNamespace(config=str(path))

    assert main(["doctor", "--config", args.config, "--json"]) == 1

    rows = {row["check"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["fleet"]["result"] == "failure"
    assert rows["lanes"]["result"] == "not applicable"
    assert rows["packages"]["result"] == "ok"
