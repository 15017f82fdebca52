"""`pointsman serve`, `pointsman run` and `pointsman init`: from an installed wheel to a deployment.

Ray, HAProxy and vLLM read their settings when they are imported, so these are set before: by
`scripts/environment`, which the activated shell of a checkout has sourced, too.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from serve_app.commands.client import CommandError, subparser
from serve_app.commands.named_files import named_fleet
from serve_app.config.errors import ConfigError
from serve_app.config.private_files import private_folder, write_private
from serve_app.config.settings import state_dir
from simulator.home import holds_configuration, home, shipped

SHELL = "/bin/sh"
SOURCED = '. "$0" && exec "$@"'
"""For a shell: `$0` is the file of settings, the rest the command that gets them."""

COPIED = ("serve_config.yaml", "configs", "deploy")


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    serve = subparser(
        subparsers,
        "serve",
        "Start a deployment in the foreground, and say how far it is.",
        "pointsman serve --config serve_config.yaml",
        remote=False,
    )
    serve.add_argument(
        "--config",
        type=Path,
        help="default: serve_config.yaml in the current directory, else the one that comes with "
        "the product",
    )
    serve.add_argument(
        "--fleet", help="a fleet file, or a name under configs/fleets, in the place of the file's"
    )
    serve.set_defaults(func=_serve)

    run = subparser(
        subparsers,
        "run",
        "Run a command with the settings of a deployment: Ray's own `ray` and `serve`, say.",
        "pointsman run ray start --address 10.0.0.4:6379",
        remote=False,
    )
    run.add_argument("run", nargs=argparse.REMAINDER, metavar="COMMAND")
    run.set_defaults(func=_run)

    init = subparser(
        subparsers,
        "init",
        "Copy the configuration into a folder, to be edited there.",
        "pointsman init ~/pointsman && cd ~/pointsman && pointsman serve",
        remote=False,
    )
    init.add_argument("folder", type=Path)
    init.set_defaults(func=_init)


def _serve(args: argparse.Namespace) -> int:
    given: Path = (args.config or home() / "serve_config.yaml").absolute()
    if not given.is_file():
        raise ConfigError(f"{given}: there is no such file; 'pointsman init DIR' makes one")
    folder = home_of(given)
    os.environ["POINTSMAN_HOME"] = str(folder)
    config = given if args.fleet is None else _with_fleet(given, args.fleet)
    return _become([sys.executable, "-P", "-m", "serve_app.machine.start", str(config)])


def home_of(config: Path) -> Path:
    """Return the folder whose `configs/` go with a Serve configuration."""
    is_asked_for = "POINTSMAN_HOME" in os.environ or not holds_configuration(config.parent)
    return home() if is_asked_for else config.parent


def _with_fleet(config: Path, fleet: str) -> Path:
    """Write the configuration with another fleet into the state's folder; return that file."""
    try:
        found = yaml.safe_load(config.read_text())
        arguments = found["applications"][0].setdefault("args", {})
    except (yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(f"{config}: is no configuration with one application") from error
    arguments["fleet"] = str(named_fleet(fleet))
    target = private_folder(state_dir()) / "serve_config.yaml"
    return write_private(target, yaml.safe_dump(found, sort_keys=False)).replace(target)


def _run(args: argparse.Namespace) -> int:
    command = args.run[1:] if args.run[:1] == ["--"] else args.run
    if not command:
        raise CommandError("which command? For example: pointsman run ray status")
    return _become(command)


def _become(command: Sequence[str]) -> int:
    """Replace this process by a command that has the settings; raise CommandError if it cannot."""
    if importlib.util.find_spec("ray") is None:
        raise CommandError(
            "Ray and vLLM are not installed: install the lock file of this release, "
            "requirements/cpu.txt or requirements/cuda.txt (docs/deploying.md)"
        )
    os.environ["PATH"] = os.pathsep.join(
        (str(shipped() / "scripts" / "bin"), str(Path(sys.executable).parent), _path())
    )
    settings = str(shipped() / "scripts" / "environment")
    sys.stdout.flush()
    # The command is the user's own, or ours.
    return os.execv(SHELL, [SHELL, "-uc", SOURCED, settings, *command])  # noqa: S606


def _path() -> str:
    return os.environ.get("PATH") or os.defpath


def _init(args: argparse.Namespace) -> int:
    folder: Path = args.folder
    taken = [name for name in COPIED if (folder / name).exists()]
    if taken:
        raise CommandError(f"{folder} has a {taken[0]} already, which is left as it is")
    folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        source = shipped() / name
        if source.is_dir():
            shutil.copytree(source, folder / name)
        else:
            shutil.copy(source, folder / name)
    print(f"{folder}: edit serve_config.yaml and configs/, then: cd {folder} && pointsman serve")
    return 0
