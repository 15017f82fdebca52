"""The daily replay under systemd and in Kubernetes says what the command takes."""

import configparser
import shlex
from pathlib import Path

import yaml

from serve_app.cli import build_parser
from tests.unit.deploy.test_bare_hosts import UNIT

FOLDER = UNIT.parent


def unit(path: Path) -> configparser.ConfigParser:
    found = configparser.ConfigParser(strict=False, interpolation=None)
    found.optionxform = str
    found.read(path)
    return found


def test_the_timer_runs_a_service_whose_command_can_be_parsed() -> None:
    service = unit(FOLDER / "pointsman-replay.service")["Service"]

    words = shlex.split(service["ExecStart"])

    assert build_parser().parse_args(words[1:]).daily
    assert words[0] == shlex.split(unit(UNIT)["Service"]["ExecStart"])[0]
    assert service["User"] == unit(UNIT)["Service"]["User"]
    assert (FOLDER / "pointsman-replay.timer").is_file()


def test_the_cron_job_submits_the_same_as_the_printed_command() -> None:
    path = FOLDER.parent / "kubernetes" / "replay.yaml"
    job = yaml.safe_load(path.read_text())["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    arguments = job["containers"][0]["args"]

    # Ray's client joins what follows and quotes each word: a line needs a shell of its own.
    shell, script = arguments[arguments.index("--") + 1 :][:2], arguments[-1]
    command, _, after = script.partition(" || ")
    words = shlex.split(command)
    assert (shell, after) == (["sh", "-c"], "[ $? -eq 3 ]")

    args = build_parser().parse_args(words[1:])
    assert args.daily
    assert arguments[2:4] == ["--entrypoint-num-cpus", "0.1"]
    # The job runs on the head, so its key is in the head's environment, from the same secret.
    head = (path.parent / "rayservice.yaml").read_text()
    assert f"name: {args.key_env}" in head and "key: replay_key, optional: true" in head
