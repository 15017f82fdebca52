"""`pointsman tenants responses`: what tenants have stored, and its deletion."""

from __future__ import annotations

import argparse
import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serve_app.commands.client import CommandError, subparser
from serve_app.config.settings import load_tenants, responses_path, tenancy_path, tenants_path
from serve_app.responses.rows import Total
from serve_app.responses.store import ResponseStore


def add_responses(actions: Any) -> argparse.ArgumentParser:
    parser = subparser(
        actions,
        "responses",
        "How many responses each tenant has stored; with --delete, delete a tenant's.",
        "pointsman tenants responses acme --delete",
        remote=False,
    )
    parser.add_argument("tenant", nargs="?", help="this tenant only")
    parser.add_argument("--delete", action="store_true", help="delete all that the tenant has")
    parser.set_defaults(func=_responses)
    return parser


def _responses(args: argparse.Namespace) -> int:
    if args.delete and args.tenant is None:
        raise CommandError("--delete needs the tenant whose responses are to be deleted")
    tenants = load_tenants(args.file or tenants_path())
    with _opened(responses_path(tenancy_path(tenants))) as store:
        totals = store.totals() if store.path.exists() else {}
        if args.tenant is not None:
            totals = {args.tenant: totals.get(args.tenant, Total(0, 0))}
        if args.delete:
            # Tenants that have left the file, too. Running ingress replicas write in between.
            while totals[args.tenant].responses and store.forget(args.tenant):
                pass
    _tell(args, totals)
    return 0


def _tell(args: argparse.Namespace, totals: dict[str, Total]) -> None:
    if args.json:
        rows = {name: x._asdict() for name, x in sorted(totals.items())}
        print(json.dumps({"deleted": rows} if args.delete else rows))
        return
    for name, total in sorted(totals.items()):
        told = "deleted  " if args.delete else ""
        print(f"{name:<24} {told}responses {total.responses:,}  bytes {total.bytes:,}")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[ResponseStore]:
    store = ResponseStore(path)
    try:
        yield store
    except sqlite3.Error as error:
        raise CommandError(f"{path}: {error}") from error
    finally:
        store.close()
