"""The configurations of deploy/tls are ones that nginx and Caddy take."""

import os
import subprocess

import pytest

from tests.e2e.fronts import caddy_command, nginx_command

pytestmark = pytest.mark.security


def test_nginx_takes_its_configuration(tmp_path):
    done = subprocess.run(
        [*nginx_command(tmp_path, 8443), "-t"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr.replace('the "user" directive', "").splitlines()[0]


def test_caddy_takes_its_configuration(tmp_path):
    command = [x if x != "run" else "validate" for x in caddy_command(tmp_path)]
    env = {**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Valid configuration" in done.stdout + done.stderr
