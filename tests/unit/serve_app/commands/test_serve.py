"""`pointsman serve`, `run` and `init`, up to the process that takes their place."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from serve_app.cli import main
from serve_app.commands import serve
from simulator.home import configs, home, shipped

ROOT = Path(__file__).resolve().parents[4]


class Became(Exception):
    """What the process would have become: a program and its arguments."""

    def __init__(self, arguments: list[str]) -> None:
        self.command = arguments[4:]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """The current directory, where no configuration is; no variable says where one is."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path / "state"))
    # So that what a command sets is taken back.
    monkeypatch.setenv("POINTSMAN_HOME", "")
    monkeypatch.delenv("POINTSMAN_HOME")
    monkeypatch.setenv("PATH", os.environ["PATH"])
    return folder


@pytest.fixture
def becomes(monkeypatch, elsewhere):
    """Runs `pointsman ...` and returns the command that takes its place."""

    def execv(program: str, arguments: list[str]) -> int:
        raise Became(arguments)

    monkeypatch.setattr(os, "execv", execv)

    def run(line: str) -> list[str]:
        with pytest.raises(Became) as became:
            main(shlex.split(line))
        return became.value.command

    return run


def test_without_a_word_it_serves_what_comes_with_the_product(becomes):
    command = becomes("serve")
    assert command[1:] == ["-P", "-m", "serve_app.machine.start", str(ROOT / "serve_config.yaml")]
    assert os.environ["POINTSMAN_HOME"] == str(ROOT)


def test_a_folder_of_ones_own_is_found_where_one_stands(becomes, elsewhere, monkeypatch):
    assert main(["init", "mine"]) == 0
    monkeypatch.chdir(elsewhere / "mine")
    assert becomes("serve")[-1] == str(elsewhere / "mine" / "serve_config.yaml")
    assert home() == elsewhere / "mine"


def test_the_folder_of_a_configuration_that_is_named_goes_with_it(becomes, elsewhere):
    main(["init", "mine"])
    assert becomes("serve --config mine/serve_config.yaml")[-1].startswith(str(elsewhere))
    assert os.environ["POINTSMAN_HOME"] == str(elsewhere / "mine")


def test_a_configuration_alone_takes_the_fleets_of_the_product(becomes, elsewhere):
    (elsewhere / "own.yaml").write_text("applications: []\n")
    assert becomes("serve --config own.yaml")[-1] == str(elsewhere / "own.yaml")
    assert os.environ["POINTSMAN_HOME"] == str(ROOT)


def test_a_home_that_is_named_goes_before_all(becomes, elsewhere, monkeypatch, tmp_path):
    main(["init", "mine"])
    main(["init", str(tmp_path / "named")])
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path / "named"))
    becomes("serve --config mine/serve_config.yaml")
    assert os.environ["POINTSMAN_HOME"] == str(tmp_path / "named")


@pytest.mark.parametrize(
    ("given", "meant"),
    [("local", ROOT / "configs/fleets/local.yaml"), ("./own.yaml", Path("own.yaml"))],
)
def test_another_fleet_takes_the_files_place(becomes, elsewhere, given, meant):
    (elsewhere / "own.yaml").touch()
    written = Path(becomes(f"serve --fleet {given}")[-1])
    args = yaml.safe_load(written.read_text())["applications"][0]["args"]
    assert args["fleet"] == str(elsewhere / meant if not meant.is_absolute() else meant)
    assert args["listen"] == "127.0.0.1"
    assert written.stat().st_mode & 0o077 == 0


def test_a_fleet_that_is_not_there_is_told(elsewhere, capsys):
    assert main(["serve", "--fleet", "locla"]) == 1
    assert "did you mean 'local'" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["applications: []\n", "- 1\n", "{", "applications: [1]\n"])
def test_a_configuration_without_an_application_takes_no_fleet(elsewhere, capsys, text):
    (elsewhere / "own.yaml").write_text(text)
    assert main(["serve", "--config", "own.yaml", "--fleet", "local"]) == 1
    assert "one application" in capsys.readouterr().err


def test_a_configuration_that_is_not_there_is_told(elsewhere, capsys):
    assert main(["serve", "--config", "none.yaml"]) == 1
    assert "pointsman init" in capsys.readouterr().err


def test_what_is_in_a_folder_is_left_as_it_is(elsewhere, capsys):
    (elsewhere / "mine" / "configs").mkdir(parents=True)
    assert main(["init", "mine"]) == 1
    assert "left as it is" in capsys.readouterr().err
    assert list(Path("mine").iterdir()) == [Path("mine/configs")]


def test_a_command_is_needed_to_run(elsewhere, capsys):
    assert main(["run"]) == 1
    assert "which command" in capsys.readouterr().err


def test_without_ray_it_says_what_to_install(elsewhere, capsys, monkeypatch):
    monkeypatch.setattr(serve.importlib.util, "find_spec", lambda name: None)
    assert main(["serve"]) == 1
    assert "requirements/cpu.txt" in capsys.readouterr().err


def test_a_command_has_the_settings_and_finds_rays_programs(tmp_path):
    """In a process of its own, from a folder where there is nothing of ours."""
    line = 'echo "$RAY_AUTH_MODE $RAY_SERVE_ENABLE_HA_PROXY $RAY_TMPDIR"; command -v ray'
    done = subprocess.run(
        [sys.executable, "-m", "serve_app.cli", "run", "--", "sh", "-c", line],
        cwd=tmp_path,
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "HOME": str(tmp_path),
            "POINTSMAN_RUN": str(tmp_path / "r"),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        f"token 1 {tmp_path}/r",
        str(ROOT / "scripts" / "bin" / "ray"),
    ]


def test_profiles_are_the_operators_where_there_are_some(elsewhere, monkeypatch):
    assert configs("profiles") == shipped() / "configs" / "profiles"
    main(["init", "mine"])
    monkeypatch.chdir(elsewhere / "mine")
    assert configs("profiles") == elsewhere / "mine" / "configs" / "profiles"


def test_a_current_directory_that_is_gone_is_none(elsewhere):
    elsewhere.rmdir()
    assert home() == shipped()
