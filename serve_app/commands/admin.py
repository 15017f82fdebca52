"""`pointsman drain` and `pointsman audit`: what operators do to replicas, and who did what."""

from __future__ import annotations

import argparse
import json
from typing import Any
from urllib.parse import quote

from classifier.arguments import positive
from serve_app.commands.client import request_json, subparser


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    drain = subparser(
        subparsers,
        "drain",
        "Have a lane replica get no more requests; without one, list them.",
        "pointsman drain k3v9x2ab --end",
    )
    drain.add_argument("replica", nargs="?", help="its id, as in 'pointsman status --json'")
    drain.add_argument("--undo", action="store_true", help="have it take turns again")
    drain.add_argument("--end", action="store_true", help="it ends once it is empty; see --within")
    drain.add_argument(
        "--within", type=positive, default=900, metavar="S", help="seconds until it ends anyway"
    )
    drain.add_argument(
        "--force", action="store_true", help="even the last one of a lane that is required"
    )
    drain.set_defaults(func=_drain)

    audit = subparser(
        subparsers, "audit", "Who did what to the deployment, newest first.", "pointsman audit"
    )
    audit.add_argument("--limit", type=positive, default=50, help="entries (default: 50)")
    audit.set_defaults(func=_audit)


def _drain(args: argparse.Namespace) -> int:
    if args.replica is None:
        return _list(args)
    path = f"/admin/replicas/{quote(args.replica, safe='')}/{'undrain' if args.undo else 'drain'}"
    body = {} if args.undo else {"end": args.end, "within_s": args.within, "force": args.force}
    told = request_json(args, "POST", path, body, operates=True)
    if args.json:
        print(json.dumps(told))
    else:
        state = "is drained" if told["draining"] else "takes turns"
        ends = ", and ends when it is empty" if told["ends"] else ""
        print(f"{told['replica']} of lane {told['lane']} {state}{ends}; {told['in_flight']} open")
        for one in told["ingress"]:
            if not one["ok"]:
                print(f"  ingress {one['replica'] or '?'}: {one['error']}")
    return 0 if told["ok"] else 1


def _list(args: argparse.Namespace) -> int:
    rows = request_json(args, "GET", "/admin/replicas", operates=True)["replicas"]
    if args.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        state = "draining" if row["draining"] else "takes turns"
        print(f"{row['replica']:<16} {row['lane']:<16} {state:<12} {row['in_flight']} open")
    return 0


def _audit(args: argparse.Namespace) -> int:
    told = request_json(args, "GET", f"/admin/audit?limit={args.limit}", operates=True)
    if args.json:
        print(json.dumps(told))
        return 0
    for entry in told["entries"]:
        print(_line(entry))
    return 0


def _line(entry: dict[str, Any]) -> str:
    who = entry["who"]["key"] or "nobody's key"
    where = entry["client"]["forwarded_for"] or entry["client"]["address"]
    what = f"{entry['action']} {entry.get('target') or ''}".strip()
    return f"{entry['at'][:19]}  {entry['outcome']:<8} {what:<36} {who:<14} {where}"
