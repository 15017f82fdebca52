"""`pointsman tools`: named tool sets, their versions, and which one a name stands for."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from serve_app.agents.lint import SetNotes, linting
from serve_app.bodies.steps import at_once
from serve_app.commands.client import CommandError, request_json, subparser
from serve_app.commands.tools_import import add_import
from serve_app.config.serving import SchemaConfig
from serve_app.config.settings import tools_folder
from serve_app.registry.files import read_file, tool_files
from serve_app.registry.tool_set import CHAT, ToolSet

ROTATION_WITHIN_S = 90.0
"""Replicas read prompts for up to `warm_up.within_s` before traffic moves."""


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    summary = "Named tool sets: list, show, promote, roll back, check, import."
    parent = subparsers.add_parser("tools", help=summary, description=summary)
    actions = parent.add_subparsers(dest="action", required=True, metavar="ACTION")

    listing = subparser(
        actions, "list", "Sets, versions, and what each name stands for.", "pointsman tools list"
    )
    listing.set_defaults(func=_list)

    show = subparser(
        actions, "show", "One version as requests get it.", "pointsman tools show crm@7"
    )
    show.add_argument("set")
    show.add_argument("--path", default=CHAT, help=f"route whose form is shown (default: {CHAT})")
    show.set_defaults(func=_show)

    promote = subparser(
        actions,
        "promote",
        "Have a set's name stand for a version, once its prompts are cached.",
        "pointsman tools promote crm@8",
    )
    promote.add_argument("set")
    promote.add_argument(
        "--now", action="store_true", help="sessions under way move, too, and lose their cache"
    )
    promote.set_defaults(func=_promote)

    rollback = subparser(
        actions,
        "rollback",
        "Have a set's name stand for the version before, for all sessions.",
        "pointsman tools rollback crm",
    )
    rollback.add_argument("set")
    rollback.set_defaults(func=_rollback)
    for parser in (promote, rollback):
        parser.add_argument(
            "--force", action="store_true", help="also if replicas could not be warmed"
        )

    retire = subparser(
        actions,
        "retire",
        "Offer a set whose files are gone no more.",
        "pointsman tools retire crm",
    )
    retire.add_argument("set")
    retire.set_defaults(func=_retire)

    lint = subparser(
        actions,
        "lint",
        "Check files of tool sets and say what could be better.",
        "pointsman tools lint configs/tools/crm-8.yaml",
        remote=False,
    )
    lint.add_argument("files", nargs="*", type=Path, help="default: all of configs/tools")
    lint.set_defaults(func=_lint)
    add_import(actions)


def _list(args: argparse.Namespace) -> int:
    found = request_json(args, "GET", "/admin/tools", operates=True)
    if args.json:
        print(json.dumps(found))
        return 0
    for one in found["sets"]:
        held = f", {one['held_sessions']} sessions held" if one["held_sessions"] else ""
        print(f"{one['name']}: stands for version {one['promoted']}{held}")
        for version in one["versions"]:
            count, size = len(version["tools"]), version["bytes"]
            print(f"  {version['set']:<20} {count:>3} tools {size:>7} bytes  {version['sha256']}")
    for told in found["refused"]:
        print(f"refused: {told}")
    return 0


def _show(args: argparse.Namespace) -> int:
    found = request_json(args, "GET", f"/admin/tools?set={quote(args.set)}", operates=True)
    if args.json:
        print(json.dumps(found))
        return 0
    if args.path not in found["forms"]:
        raise CommandError(f"--path is one of {', '.join(found['forms'])}")
    print(f"# {found['set']}, sha256 {found['digest']}, {found['bytes']} bytes")
    print(json.dumps(found["forms"][args.path], indent=1, ensure_ascii=False))
    return 0


def _promote(args: argparse.Namespace) -> int:
    asked = {"set": args.set, "now": args.now, "force": args.force}
    return _rotate(args, "promote", asked)


def _rollback(args: argparse.Namespace) -> int:
    return _rotate(args, "rollback", {"set": args.set, "force": args.force})


def _rotate(args: argparse.Namespace, action: str, asked: dict[str, Any]) -> int:
    path = f"/admin/tools/{action}"
    told = request_json(args, "POST", path, asked, operates=True, within_s=ROTATION_WITHIN_S)
    if args.json:
        print(json.dumps(told))
        return 0 if told["ok"] else 1
    for row in told.get("warmed", ()):
        print(f"{row['lane']}: {row['error'] or 'read'} ({row['prefixes']} prompts)")
    if not told["ok"]:
        raise CommandError(told["error"])
    if told["previous"] is None:
        print(f"{told['promoted']} it was already")
        return 0
    if not told["warmed"]:
        print("nothing to warm: no prompt with this set was asked for lately")
    print(f"{told['promoted']}, in place of {told['previous']}")
    if told["held_sessions"]:
        print(f"{told['held_sessions']} sessions stay where they began, for an hour at most")
    return 0


def _retire(args: argparse.Namespace) -> int:
    told = request_json(args, "POST", "/admin/tools/retire", {"set": args.set}, operates=True)
    print(json.dumps(told) if args.json else f"{told['name']} is offered no more")
    return 0


def _lint(args: argparse.Namespace) -> int:
    paths = args.files or tool_files(tools_folder())
    rows = [(path, found, notes_of(found)) for path in paths for found in [read_file(path)]]
    if args.json:
        print(json.dumps([{"set": x.label, **notes.explained()} for _, x, notes in rows]))
        return 0
    for path, found, notes in rows:
        print(f"{path}: {found.label}, {notes.count} tools, about {notes.tokens} tokens")
        for names in notes.colliding:
            print(f"  alike: {', '.join(names)}")
        for tool in notes.tools:
            for finding, why in tool.findings:
                print(f"  {tool.name}: {finding}: {why}")
    return 0


def notes_of(found: ToolSet) -> SetNotes:
    """What could be better about a set's tools."""
    return at_once(linting(found.forms[CHAT].tools, SchemaConfig()))
