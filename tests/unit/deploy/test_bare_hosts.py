"""deploy/systemd and deploy/ray, each by its own tool."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from serve_app.cli import build_parser

ROOT = Path(__file__).resolve().parents[3]
UNIT = ROOT / "deploy" / "systemd" / "pointsman.service"
CLUSTER = ROOT / "deploy" / "ray" / "cluster.yaml"
MOST_EXPOSED = 25
"""In tenths, as `systemd-analyze security` counts it: 0 is closed, 100 is open."""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd is not installed"
)


def settings(name: str) -> list[str]:
    lines = UNIT.read_text().splitlines()
    return [x.partition("=")[2] for x in lines if x.startswith(f"{name}=")]


@needs_systemd
def test_systemd_takes_the_unit(tmp_path):
    """The program is another one: systemd looks whether it is there."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/pointsman/bin/pointsman", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_a_line_that_systemd_does_not_know_is_found(tmp_path):
    """What the test above is worth: systemd ignores such a line, with a warning."""
    unit = tmp_path / UNIT.name
    text = UNIT.read_text().replace("/opt/pointsman/bin/pointsman", "/bin/true")
    unit.write_text(text.replace("ProtectSystem=strict", "ProtectSystms=strict"))
    done = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    assert "ProtectSystms" in done.stderr


@needs_systemd
def test_the_service_is_closed_to_what_it_does_not_need():
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", UNIT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-600:]


def test_secrets_come_from_a_file_of_their_own():
    assert settings("EnvironmentFile") == ["-/etc/pointsman/secrets.env"]
    assert not any("TOKEN" in x or "SECRET" in x for x in settings("Environment"))


def test_it_is_started_by_the_command_and_ended_by_its_signal():
    (start,) = settings("ExecStart")
    _, *arguments = start.split()
    assert build_parser().parse_args(arguments).command == "serve"
    assert settings("KillSignal") == ["SIGINT"]
    # Lanes and ingress drain for 900 s at most.
    assert int(settings("TimeoutStopSec")[0]) > 900


def test_rays_folder_is_short_enough_and_the_services_own():
    (run,) = [x.partition("=")[2] for x in settings("Environment") if "POINTSMAN_RUN" in x]
    assert run.startswith(f"/var/lib/{settings('StateDirectory')[0]}/") and len(run) <= 27


def test_ray_takes_the_cluster_file():
    config = prepare_config(yaml.safe_load(CLUSTER.read_text()))
    validate_config(config)


def test_every_command_of_the_cluster_file_is_shell_and_ours():
    config = yaml.safe_load(CLUSTER.read_text())
    starts = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    for command in [*starts, *config["setup_commands"], *config["initialization_commands"]]:
        subprocess.run(["bash", "-n", "-c", command], check=True)
    assert all("pointsman run ray " in x for x in starts)
    assert sum("POINTSMAN_CLUSTER=1" in x for x in starts) == 2


def test_hosts_share_the_token_and_not_the_secrets():
    config = yaml.safe_load(CLUSTER.read_text())
    assert "~/.ray/auth_token" in config["file_mounts"]
    assert "secrets.env" in config["rsync_exclude"]
