"""Prometheus and promtool, as Debian has them: `scripts/install-observe` installs both."""

import os
import shutil
import subprocess

import pytest


def program(name):
    """Its path; without it a test fails where it must not be left out, and is skipped elsewhere."""
    found = shutil.which(name)
    if found is None:
        told = f"'{name}' is not installed: scripts/install-observe"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)
    return found


def promtool(*args):
    """Run promtool; fails with what it said."""
    done = subprocess.run(
        [program("promtool"), *map(str, args)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.fail(done.stdout + done.stderr, pytrace=False)
    return done.stdout
