"""`pointsman tenants`: tenants, and keys that are shown once and kept as salted hashes.

The tenants file says which tenants there are and what each may do. Keys that are made
here, and revocations, are in the tenancy store, so that they work where the file is not
the command's to write; running ingress replicas notice within a second. A new tenant is
in the file, which they read when it has been at rest (`reload.settle_s`).
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from classifier.arguments import positive
from serve_app.commands.client import CommandError, subparser
from serve_app.commands.tenants_responses import add_responses
from serve_app.commands.tenants_usage import add_usage, opened
from serve_app.config.errors import nearest
from serve_app.config.settings import load_tenants, tenants_path
from serve_app.config.tenants import KeyConfig, TenantsConfig
from serve_app.tenancy.auth import make_key
from serve_app.tenancy.store import Keys, StoredKey
from serve_app.tenancy.tenants_file import add_tenant, remove_key


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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
    add.add_argument("--proxy", action="store_true", help=_PROXY)
    add.add_argument("--days", type=positive, help="the key expires after this many days")
    add.set_defaults(func=_add)

    listing = subparser(
        actions,
        "list",
        "Tenants and the ids of their keys.",
        "pointsman tenants list",
        remote=False,
    )
    listing.add_argument("--all", action="store_true", help="revoked and expired keys, too")
    listing.set_defaults(func=_list)

    revoke = subparser(
        actions,
        "revoke",
        "Make one key invalid for good, by its id.",
        "pointsman tenants revoke 3f2a9c1d7e05",
        remote=False,
    )
    revoke.add_argument("key_id")
    revoke.set_defaults(func=_revoke)
    for parser in (add, listing, revoke, add_usage(actions), add_responses(actions)):
        parser.add_argument("--file", type=Path, help="tenants file")


_PROXY = "the key may act for any tenant, which it names in x-tenant-id"


def _path(args: argparse.Namespace) -> Path:
    return args.file or tenants_path()


def _add(args: argparse.Namespace) -> int:
    path = _path(args)
    config = load_tenants(path)
    _check_tier(args, config)
    now = datetime.now(UTC)
    expires = now + timedelta(days=args.days) if args.days else None
    key, entry = make_key(admin=args.admin, proxy=args.proxy, expires=expires)
    # The tenant first: a key of nobody's would be of no use.
    if args.tenant not in config.tenants:
        add_tenant(path, args.tenant, args.tier)
    with opened(config) as store:
        store.add_key(StoredKey(args.tenant, entry, now))
    if args.json:
        row = {"tenant": args.tenant, "id": entry.id, "key": key, "store": store.place}
        print(json.dumps(row))
    else:
        print(f"{key}\n\nThis key is shown once. Send it as 'Authorization: Bearer KEY'.")
        print(f"Its hash is in {store.place}.", file=sys.stderr)
    return 0


def _check_tier(args: argparse.Namespace, config: TenantsConfig) -> None:
    known = config.tenants.get(args.tenant)
    if known is None and (args.tier is None or args.tier not in config.tiers):
        hint = nearest(args.tier or "", config.tiers)
        raise CommandError(f"a new tenant needs --tier, one of {', '.join(config.tiers)}{hint}")
    if known is not None and args.tier not in (None, known.tier):
        raise CommandError(
            f"'{args.tenant}' is of tier '{known.tier}': a tenant's tier changes in the tenants "
            "file, not with a key"
        )


def _list(args: argparse.Namespace) -> int:
    config = load_tenants(_path(args))
    with opened(config) as store:
        stored = store.keys()
    names = dict.fromkeys([*config.tenants, *(x.tenant for x in stored.keys.values())])
    rows = [_row(name, config, stored, is_all=args.all) for name in names]
    if args.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        ids = ", ".join(_told(key) for key in row["keys"])
        print(f"{row['tenant']:<24} {row['tier'] or 'not in the file':<10} {ids or 'no keys'}")
    return 0


def _row(name: str, config: TenantsConfig, stored: Keys, *, is_all: bool) -> dict[str, Any]:
    tenant = config.tenants.get(name)
    keys = [
        *((key, "file") for key in (tenant.keys if tenant else ())),
        *((x.key, "store") for x in stored.keys.values() if x.tenant == name),
    ]
    shown = [_key_row(key, where, stored) for key, where in keys]
    return {
        "tenant": name,
        "tier": tenant.tier if tenant else None,
        "keys": [key for key in shown if is_all or key["state"] == "valid"],
    }


def _key_row(key: KeyConfig, where: str, stored: Keys) -> dict[str, Any]:
    state = "valid"
    if key.id in stored.revoked:
        state = "revoked"
    elif key.is_expired(datetime.now(UTC)):
        state = "expired"
    return {
        "id": key.id,
        "admin": key.admin,
        "proxy": key.proxy,
        "expires": key.expires.isoformat() if key.expires else None,
        "state": state,
        "kept_in": where,
    }


def _told(key: dict[str, Any]) -> str:
    notes = [right for right in ("admin", "proxy") if key[right]]
    if key["expires"]:
        notes.append(f"until {key['expires'][:10]}")
    if key["state"] != "valid":
        notes.append(key["state"])
    return f"{key['id']} ({', '.join(notes)})" if notes else str(key["id"])


def _revoke(args: argparse.Namespace) -> int:
    path = _path(args)
    config = load_tenants(path)
    owners = [n for n, t in config.tenants.items() if any(k.id == args.key_id for k in t.keys)]
    with opened(config) as store:
        if not owners and args.key_id not in store.keys().keys:
            raise CommandError(f"no key has the id '{args.key_id}'; see 'pointsman tenants list'")
        # The store first: it works at once, and whether or not the file can be written.
        store.revoke(args.key_id, at=datetime.now(UTC))
    if owners:
        # From the file, too: the revocation must outlive the store.
        try:
            remove_key(path, owners[0], args.key_id)
        except OSError as error:
            print(
                f"pointsman: {args.key_id} is revoked, but is still in {path} "
                f"({error.strerror}): remove it there, or a lost store would bring it back",
                file=sys.stderr,
            )
    print(json.dumps({"revoked": args.key_id}) if args.json else f"revoked {args.key_id}")
    return 0
