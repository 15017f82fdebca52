"""What `.venv/bin/activate` sets, and what Ray makes of it."""

import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serve_app.machine.ray_files import MAX_RUN_CHARS

ROOT = Path(__file__).resolve().parents[4]
pytestmark = pytest.mark.security

WHERE = """
import json, sys
from ray._private import services
from ray._private.utils import read_ray_address
from ray._common.utils import get_default_ray_temp_dir
json.dump({
    "temp_dir": get_default_ray_temp_dir(),
    "planted": read_ray_address(),
    "serve_run": services.canonicalize_bootstrap_address(None),
    "node": services.get_node_ip_address(),
}, sys.stdout)
"""


@pytest.fixture
def home(tmp_path) -> Path:
    path = tmp_path / "home"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def activated(home, tmp_path):
    """Runs a line in a shell that has sourced the settings."""

    def run(line: str, shell: str = "bash", **env: str) -> subprocess.CompletedProcess[str]:
        given = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "POINTSMAN_RUN": str(tmp_path / "r"),
        }
        return subprocess.run(
            [shell, "-euc", f". {ROOT}/scripts/environment; {line}"],
            env={**given, **env},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_the_directory_and_the_token_are_made_for_nobody_else(activated, home, tmp_path, shell):
    done = activated('echo "$RAY_TMPDIR"', shell)
    assert (done.stdout.strip(), done.stderr) == (str(tmp_path / "r"), "")
    token = home / ".ray" / "auth_token"
    modes = [oct(x.stat().st_mode)[-3:] for x in (tmp_path / "r", token.parent, token)]
    assert modes == ["700", "700", "600"]
    assert len(token.read_text()) == 64
    before = token.read_text()
    activated("true", shell)
    assert token.read_text() == before


def test_one_of_ours_that_is_wider_is_narrowed(activated, tmp_path):
    (tmp_path / "r").mkdir(mode=0o755)
    assert activated("true").stderr == ""
    assert oct((tmp_path / "r").stat().st_mode)[-3:] == "700"


def test_shells_activated_at_once_have_one_whole_token(activated, home, tmp_path):
    """The first is held up while it makes its own; the second has one all the same."""
    slow, gate = tmp_path / "slow", tmp_path / "gate"
    slow.mkdir()
    os.mkfifo(gate)
    head = slow / "head"
    head.write_text(f'#!/bin/sh\nread -r _ <{gate}\nexec {shutil.which("head")} "$@"\n')
    head.chmod(0o755)
    read = f'cat "{home}/.ray/auth_token"'
    with ThreadPoolExecutor(1) as other:
        first = other.submit(activated, read, "sh", PATH=f"{slow}:{os.environ['PATH']}")
        with gate.open("w") as opened:  # when the first has got so far
            second = activated(read, "sh").stdout
            opened.write("on\n")
        told = [first.result().stdout, second]
    assert len(second) == 64 and told == [second, second]
    assert [x.name for x in (home / ".ray").iterdir()] == ["auth_token"]


def test_a_token_that_cannot_be_made_is_told_and_ends_no_shell(activated, home):
    (home / ".ray").touch()
    done = activated("echo goes on")
    assert done.stdout == "goes on\n"
    assert done.stderr.startswith(f"warning: {home}/.ray/auth_token, Ray's token, is empty or")


def test_an_empty_token_is_told(activated, home):
    """What an earlier version left on a full disk."""
    (home / ".ray").mkdir(mode=0o700)
    (home / ".ray" / "auth_token").touch()
    assert "delete it" in activated("true").stderr


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_without_a_home_it_is_the_users_own(shell, tmp_path):
    """As under cron and some supervisors; the strict modes of shells are on."""
    done = subprocess.run(
        [shell, "-euc", f'. {ROOT}/scripts/environment; echo "$HOME"'],
        env={
            "PATH": os.environ["PATH"],
            "POINTSMAN_RUN": str(tmp_path / "r"),
            "RAY_AUTH_TOKEN": "of-the-tests",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == (pwd.getpwuid(os.geteuid()).pw_dir, "")


def test_a_path_that_is_not_whole_makes_nothing(activated, tmp_path):
    done = activated(f"cd {tmp_path}; . {ROOT}/scripts/environment", POINTSMAN_RUN="pm-relative")
    assert "whole path" in done.stderr
    assert not (tmp_path / "pm-relative").exists()


@pytest.mark.parametrize("kind", ["link", "file"])
def test_where_it_is_not_ours_alone_ray_cannot_start(activated, tmp_path, kind):
    (tmp_path / "real").mkdir(mode=0o700)
    path = tmp_path / "r"
    path.symlink_to(tmp_path / "real") if kind == "link" else path.touch()
    done = activated('mkdir -p "$RAY_TMPDIR/ray" || echo refused')
    assert "is not a directory of yours alone" in done.stderr
    assert done.stdout == "refused\n"


def test_a_planted_cluster_is_not_joined(activated, tmp_path):
    """Ray's own answers, where /tmp/ray (here: a TMPDIR that others write) says otherwise."""
    planted = tmp_path / "shared" / "ray" / "ray_current_cluster"
    planted.parent.mkdir(parents=True)
    planted.write_text("192.0.2.7:6379")
    line = f"{sys.executable} -c '{WHERE}'"
    done = activated(line, TMPDIR=str(tmp_path / "shared"))
    found = json.loads(done.stdout)
    assert found == {
        "temp_dir": f"{tmp_path}/r/ray",
        "planted": None,
        "serve_run": None,
        "node": "127.0.0.1",
    }


def test_without_the_settings_it_would_be(tmp_path):
    """Ray as it comes: what the test above is worth."""
    planted = tmp_path / "ray" / "ray_current_cluster"
    planted.parent.mkdir()
    planted.write_text("192.0.2.7:6379")
    env = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", WHERE], env=env, capture_output=True, text=True, check=False
    )
    assert json.loads(done.stdout)["serve_run"] == "192.0.2.7:6379"


def test_a_cluster_is_asked_for_by_name(activated):
    told = activated("echo $RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", POINTSMAN_CLUSTER="1").stdout
    assert told == "1\n"


def test_paths_of_sockets_fit_also_for_a_long_user_id():
    """Ray: 107 characters for `ray/session_.../sockets/plasma_store`; HAProxy: 97."""
    folder = f"/var/tmp/pm-{2**32 - 2}"
    session = "ray/session_2026-11-29_14-20-58_255828_4194304/sockets/plasma_store.1"
    node = f"{'f' * 56}/metrics.sock"
    assert len(f"{folder}/{session}") <= 107
    assert len(f"{folder}/{node}") <= 97
    longest = "/" + "x" * (MAX_RUN_CHARS - 1)
    assert len(f"{longest}/{node}") == 97
    assert len(f"{longest}/{session}") <= 107
    with socket.socket(socket.AF_UNIX) as one, pytest.raises(OSError, match="too long"):
        one.bind("/" + "x" * 108)
