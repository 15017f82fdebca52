"""`pointsman ports`: what listens on this machine because Pointsman runs."""

from __future__ import annotations

import argparse
import json
from typing import Any

from serve_app.commands.client import subparser
from serve_app.machine import ports
from serve_app.machine.ray_files import run_dir


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparser(
        subparsers,
        "ports",
        "List what this user's deployment listens on, and what each asks its callers for.",
        "pointsman ports",
        remote=False,
    )
    parser.add_argument(
        "--markdown", action="store_true", help="the table of docs/ports.md, deployment or none"
    )
    parser.set_defaults(func=_ports)


def _ports(args: argparse.Namespace) -> int:
    if args.markdown:
        print(ports.markdown())
        return 0
    found = [_flat(x) for x in ports.open_ports(run_dir())]
    if args.json:
        print(json.dumps(found))
    elif not found:
        print("nothing of this user's listens")
    else:
        for x in found:
            where = f"{x['bound']}:{x['port']}"
            print(f"{where:<24} {x['process']:<34} {x['what']:<46} asks for: {x['asks']}")
    return 0 if all(x["is_documented"] for x in found) else 1


def _flat(found: ports.Open) -> dict[str, Any]:
    row = found.row
    return {
        "port": found.listener.port,
        "bound": str(found.listener.host),
        "process": found.process,
        "pid": found.pid,
        "what": row.what if row else "unknown",
        "who": row.who if row else "nobody",
        "asks": row.asks if row else "unknown",
        "is_documented": row is not None,
    }
