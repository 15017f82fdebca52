"""`pointsman observe`: Prometheus' and Grafana's files, and both beside a deployment."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import yaml

from serve_app.commands.client import DEFAULT_URL, CommandError, subparser
from serve_app.commands.named_files import folder_beside, named_fleet
from serve_app.config.errors import ConfigError
from serve_app.config.settings import home, load_fleet, state_dir
from serve_app.tenancy.local_key import admin_key_path
from simulator.home import shipped

if TYPE_CHECKING:
    # Imported when the command runs: every other command would pay for the table.
    from serve_app.observe.files import Wanted

HOST = "127.0.0.1"
INTO = "folder to write into (default: the checkout or home of the fleet file, or its folder)"

SHIPPED = "rtx4090"
"""Fleet that the files of the repository are made for."""


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparser(
        subparsers,
        "observe",
        "Write the files of Prometheus and Grafana, or start both beside a deployment.",
        "pointsman observe --write --fleet rtx4090",
        remote=False,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="write the files anew")
    what.add_argument("--check", action="store_true", help="say which files are out of step")
    what.add_argument(
        "--start", action="store_true", help="start Prometheus, and Grafana where it is installed"
    )
    lanes = f"whose lanes give the limits (default: {SHIPPED}; to --start: serve_config.yaml's)"
    parser.add_argument("--fleet", help=lanes)
    parser.add_argument("--into", type=Path, help=INTO)
    parser.add_argument(
        "--runbooks", default="docs/runbooks", help="address of the runbooks' folder"
    )
    parser.add_argument("--url", default=DEFAULT_URL, help="the deployment")
    parser.add_argument("--every", default="15s", help="interval of scrapes (default: 15s)")
    parser.add_argument("--key-file", type=Path, help="file with an admin key, if one is needed")
    parser.add_argument("--prometheus-port", type=int, default=9090)
    parser.add_argument("--grafana-port", type=int, default=3000)
    parser.set_defaults(func=_observe)


def _observe(args: argparse.Namespace) -> int:
    from serve_app.observe.files import all_files, different, write

    asked_home = os.environ.get("POINTSMAN_HOME")
    path = named_fleet(args.fleet or (_served_fleet() if args.start else SHIPPED))
    wanted = _wanted(args, path)
    if args.start:
        return _start(args, wanted)
    into = args.into or folder_beside(path, asked_home)
    # What reads vLLM's source must not have its say on standard output.
    with contextlib.redirect_stdout(sys.stderr):
        files = all_files(wanted)
    paths = write(files, into) if args.write else list(different(files, into))
    if args.json:
        print(json.dumps({"files": len(files), "different": [str(path) for path in paths]}))
    else:
        for path in paths:
            print(f"{'written' if args.write else 'differs'}: {path}")
        print(f"{len(files)} files, {len(paths)} {'written' if args.write else 'out of step'}")
    return 1 if args.check and paths else 0


def _wanted(args: argparse.Namespace, fleet: Path) -> Wanted:
    from serve_app.observe.files import RUNBOOKS, Wanted
    from serve_app.observe.prometheus import Scrape, is_duration

    parts = urlsplit(args.url)
    if parts.hostname is None or parts.scheme != "http":
        raise CommandError(f"--url {args.url}: give http://HOST:PORT of the deployment")
    if args.key_file is not None and not args.key_file.is_file():
        raise ConfigError(f"--key-file {args.key_file}: no such file")
    if not is_duration(args.every):
        raise ConfigError(f"--every {args.every}: give seconds or minutes, as 15s or 1m")
    scrape = Scrape(f"{parts.hostname}:{parts.port or 80}", args.every, _key_file(args))
    # A folder that `pointsman init` has made holds no runbooks: those that come with it, then.
    pages = next((x for x in (home(), shipped()) if (x / RUNBOOKS).is_dir()), home())
    return Wanted(load_fleet(fleet), pages, scrape, args.runbooks)


def _served_fleet() -> str:
    """Return the fleet that serve_config.yaml names, which is what runs here."""
    found = yaml.safe_load((home() / "serve_config.yaml").read_text())
    try:
        return str(found["applications"][0]["args"].get("fleet", "auto"))
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ConfigError("serve_config.yaml names no application: give --fleet") from error


def _key_file(args: argparse.Namespace) -> Path | None:
    """Return the file with the key: the one given, or this machine's own while it runs here."""
    if args.key_file is not None:
        return Path(args.key_file).absolute()
    is_here = args.start and admin_key_path().is_file()
    return admin_key_path() if is_here and urlsplit(args.url).hostname == HOST else None


def _start(args: argparse.Namespace, wanted: Wanted) -> int:
    from serve_app.observe.running import Ports, has_grafana, start

    ports = Ports(args.prometheus_port, args.grafana_port)
    folder = args.into or state_dir() / "observe"
    folder.mkdir(parents=True, exist_ok=True)
    print(f"Prometheus: http://{HOST}:{ports.prometheus}/alerts (asks {wanted.scrape.target})")
    if has_grafana():
        print(f"Grafana: http://{HOST}:{ports.grafana}/d/pointsman-fleet")
    else:
        print("Grafana is not installed here: the dashboards are in configs/grafana/dashboards")
    print(f"Files and logs: {folder}. Ctrl-C ends them.", flush=True)
    return start(wanted, folder, ports)
