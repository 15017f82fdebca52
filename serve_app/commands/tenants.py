"""`pointsman tenants`: keys are shown once and kept as salted hashes.

The tenants file is the one source of truth. It is edited in place, comments
kept, and replaced in one step; running ingress replicas notice within a second.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from serve_app.auth import make_key
from serve_app.commands.client import CommandError, request_bytes, subparser
from serve_app.config_errors import nearest
from serve_app.settings import load_tenants, tenants_path


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add tenants add, list, revoke and usage."""
    parent = subparsers.add_parser(
        "tenants", help="Tenants and their API keys.", description="Tenants and their API keys."
    )
    actions = parent.add_subparsers(dest="action", required=True, metavar="ACTION")

    add = subparser(
        actions,
        "add",
        "Make an API key for a tenant (made if new) and show it once.",
        "pointsman tenants add acme --tier paid",
        remote=False,
    )
    add.add_argument("tenant")
    add.add_argument("--tier", help="tier of a new tenant")
    add.add_argument("--admin", action="store_true", help="the key may use operators' routes")
    add.add_argument("--days", type=int, help="the key expires after this many days")
    add.set_defaults(func=_add)

    listing = subparser(
        actions,
        "list",
        "Tenants and the ids of their keys.",
        "pointsman tenants list",
        remote=False,
    )
    listing.set_defaults(func=_list)

    revoke = subparser(
        actions,
        "revoke",
        "Remove one key by its id.",
        "pointsman tenants revoke 3f2a9c1d7e05",
        remote=False,
    )
    revoke.add_argument("key_id")
    revoke.set_defaults(func=_revoke)

    usage = subparser(
        actions,
        "usage",
        "Tokens per tenant since the ingress replicas started.",
        "pointsman tenants usage",
    )
    usage.set_defaults(func=_usage)
    for parser in (add, listing, revoke):
        parser.add_argument("--file", type=Path, help="tenants file")


def _path(args: argparse.Namespace) -> Path:
    return args.file or tenants_path()


def _add(args: argparse.Namespace) -> int:
    path = _path(args)
    config = load_tenants(path)
    expires = datetime.now(UTC) + timedelta(days=args.days) if args.days else None
    key, entry = make_key(admin=args.admin, expires=expires)
    is_new = args.tenant not in config.tenants
    if is_new and (args.tier is None or args.tier not in config.tiers):
        hint = nearest(args.tier or "", config.tiers)
        raise CommandError(f"a new tenant needs --tier, one of {', '.join(config.tiers)}{hint}")

    def edit(data: Any) -> None:
        tenants = data.setdefault("tenants", {})
        tenant = tenants.setdefault(args.tenant, {"tier": args.tier})
        fields = entry.model_dump(mode="json", exclude_defaults=True)
        tenant.setdefault("keys", []).append(fields)

    _edit(path, edit)
    if args.json:
        print(json.dumps({"tenant": args.tenant, "id": entry.id, "key": key}))
    else:
        print(f"{key}\n\nThis key is shown once. Send it as 'Authorization: Bearer KEY'.")
    return 0


def _list(args: argparse.Namespace) -> int:
    config = load_tenants(_path(args))
    rows = [
        {
            "tenant": name,
            "tier": tenant.tier,
            "keys": [
                {"id": k.id, "admin": k.admin, "expires": k.expires and k.expires.isoformat()}
                for k in tenant.keys
            ],
        }
        for name, tenant in config.tenants.items()
    ]
    if args.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        ids = ", ".join(k["id"] + (" (admin)" if k["admin"] else "") for k in row["keys"])
        print(f"{row['tenant']:<24} {row['tier']:<10} {ids or 'no keys'}")
    return 0


def _revoke(args: argparse.Namespace) -> int:
    path = _path(args)
    owners = [n for n, t in load_tenants(path).tenants.items() if args.key_id in _ids(t)]
    if not owners:
        raise CommandError(f"no key has the id '{args.key_id}'; see 'pointsman tenants list'")

    def edit(data: Any) -> None:
        keys = data["tenants"][owners[0]]["keys"]
        keys[:] = [key for key in keys if key["id"] != args.key_id]

    _edit(path, edit)
    print(json.dumps({"revoked": args.key_id}) if args.json else f"revoked {args.key_id}")
    return 0


def _ids(tenant: Any) -> list[str]:
    return [key.id for key in tenant.keys]


def _edit(path: Path, change: Any) -> None:
    """Change the file, check the result, and only then put it in place."""
    yaml = YAML()
    yaml.preserve_quotes = True
    data = yaml.load(path.read_text(encoding="utf-8"))
    change(data)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            yaml.dump(data, file)
            file.flush()
            os.fsync(file.fileno())
        load_tenants(partial)
        partial.chmod(path.stat().st_mode & 0o777)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


_SAMPLE = re.compile(
    r'^pointsman_tokens_total\{(?=[^}]*kind="(?P<kind>\w+)")(?=[^}]*tenant="(?P<tenant>[^"]*)")'
    r"[^}]*\} (?P<value>\S+)$",
    re.MULTILINE,
)


def _usage(args: argparse.Namespace) -> int:
    totals: dict[str, dict[str, int]] = {}
    for match in _SAMPLE.finditer(request_bytes(args, "GET", "/metrics").decode()):
        row = totals.setdefault(match["tenant"], {})
        row[match["kind"]] = row.get(match["kind"], 0) + int(float(match["value"]))
    if args.json:
        print(json.dumps(totals))
        return 0
    for tenant, row in sorted(totals.items()):
        figures = "  ".join(f"{kind} {tokens}" for kind, tokens in sorted(row.items()))
        print(f"{tenant:<24} {figures}")
    return 0
