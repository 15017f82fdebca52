"""What is in the wheel: all that serving needs beside modules, and nothing of the tests."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("serve_app", "router", "classifier", "simulator")
BESIDE = ("configs", "deploy", "scripts/bin", "scripts/environment", "serve_config.yaml")
"""In the wheel they are under serve_app/shipped/."""


def files_of(*places: str) -> set[str]:
    """Files under these places that belong to the repository, or are about to."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *places]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in done.stdout.splitlines() if (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built as `pip wheel` builds it, from a copy: setuptools writes beside its sources.

    No compiler answers: that fails no installation, and what is compiled is not in it.
    """
    source = tmp_path_factory.mktemp("source")
    build_files = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
    for name in files_of(*PACKAGES, *BESIDE, "tests/conftest.py", *build_files):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name)
    folder = tmp_path_factory.mktemp("wheel")
    build = f"from setuptools.build_meta import build_wheel; build_wheel({str(folder)!r})"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["CC"] = "/bin/false"
    done = subprocess.run(
        [sys.executable, "-c", build],
        cwd=source,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel) -> set[str]:
    with zipfile.ZipFile(wheel) as opened:
        return set(opened.namelist())


def test_every_file_of_the_packages_is_in_it(names):
    """Where this fails for a file that is new, `package-data` in pyproject.toml lacks it."""
    assert files_of(*PACKAGES) - names == set()


def test_configuration_and_settings_are_in_it(names):
    assert {f"serve_app/shipped/{name}" for name in files_of(*BESIDE)} - names == set()


def test_nothing_else_is_in_it(names):
    told = {name for name in names if ".dist-info/" not in name}
    expected = files_of(*PACKAGES) | {f"serve_app/shipped/{x}" for x in files_of(*BESIDE)}
    assert told - expected == set()


def test_rays_own_commands_can_be_run_from_it(wheel):
    with zipfile.ZipFile(wheel) as opened:
        modes = [
            opened.getinfo(f"serve_app/shipped/scripts/bin/{name}").external_attr >> 16
            for name in ("ray", "serve")
        ]
    assert all(mode & 0o111 for mode in modes)
