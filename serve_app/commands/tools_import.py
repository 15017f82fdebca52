"""`pointsman tools import`: the tools of an MCP server as a file of a tool set."""

from __future__ import annotations

import argparse
import json
import os
import re
from pathlib import Path
from typing import Any

import yaml

from serve_app.commands import mcp
from serve_app.commands.client import CommandError, subparser
from serve_app.config.errors import ConfigError, validate
from serve_app.config.private_files import private
from serve_app.config.settings import tools_folder
from serve_app.config.tools import MAX_VERSION, ToolSetConfig
from serve_app.registry.files import file_name, key_of, read_file, tool_files

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VARIABLE = re.compile(r"\$([A-Z][A-Z0-9_]*)")


def add_import(actions: Any) -> None:
    importing = subparser(
        actions,
        "import",
        f"Write a set's next version from the tools of an MCP server ({mcp.REVISION} only).",
        "pointsman tools import crm --mcp https://crm.example.com/mcp",
        remote=False,
    )
    importing.add_argument("name", help="of the set")
    importing.add_argument("--mcp", required=True, metavar="URL", help="the server's MCP endpoint")
    importing.add_argument("--version", type=int, help="default: one more than the last file's")
    importing.add_argument(
        "--header",
        action="append",
        default=[],
        help="of each request: 'Authorization: Bearer $TOKEN', with the variable's value",
    )
    importing.add_argument(
        "--folder",
        type=Path,
        help="for the file; default: configs/tools, which publishes it",
    )
    importing.set_defaults(func=_import)


def _import(args: argparse.Namespace) -> int:
    folder = args.folder or tools_folder()
    version = args.version or _next_version(folder, args.name)
    listed = mcp.list_tools(args.mcp, _headers(args.header))
    path = folder / file_name(args.name, version)
    text = _written(args, version, listed)
    _create(path, text)
    try:
        found = read_file(path)
    except ConfigError:
        path.unlink()
        raise
    told = {"file": str(path), "set": found.label, "tools": list(found.names)}
    if args.json:
        print(json.dumps({**told, "left_out": listed.left_out}))
        return 0
    print(f"{path}: {found.label}, {len(found.names)} tools of {listed.server or args.mcp}")
    for why in listed.left_out:
        print(f"left out: {why}")
    print(f"Read it before 'pointsman tools promote {found.label}': models do what it says.")
    return 0


def _next_version(folder: Path, name: str) -> int:
    keys = filter(None, map(key_of, tool_files(folder)))
    return min(MAX_VERSION, 1 + max((n for known, n in keys if known == name), default=0))


def _headers(lines: list[str]) -> dict[str, str]:
    headers = {}
    for line in lines:
        name, colon, given = line.partition(":")
        if not colon or not _NAME.fullmatch(name.strip()):
            raise CommandError("--header: say 'Name: value'")
        value = _VARIABLE.sub(_value, given).strip()
        if not (value.isascii() and value.isprintable()):
            # Said here: Python's client would say the value, too.
            raise CommandError(f"--header: the value of {name.strip()} is not one line of ASCII")
        headers[name.strip()] = value
    return headers


def _value(match: re.Match[str]) -> str:
    found = os.environ.get(match[1])
    if found is None:
        raise CommandError(f"--header: the variable {match[1]} is not set")
    return found


def _written(args: argparse.Namespace, version: int, listed: mcp.Listed) -> str:
    note = f"From {listed.server or 'an MCP server'}, revision {mcp.REVISION}."
    tools = [_tool(x) for x in listed.tools]
    data = {"name": args.name, "version": version, "note": note, "tools": tools}
    # What is wrong with it is told before there is a file.
    validate(data, ToolSetConfig, f"the tools of {args.mcp}")
    for tool in tools:
        tool["parameters"] = _bare(tool["parameters"])
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)


def _tool(given: dict[str, Any]) -> dict[str, Any]:
    described = given.get("description") or given.get("title") or ""
    schema = given["inputSchema"]
    return {"name": given["name"], "description": str(described), "parameters": schema}


def _bare(value: Any, *, are_names: bool = False) -> Any:
    """A schema without `x-mcp-header`: whoever makes the call asks the server for those."""
    if isinstance(value, list):
        return [_bare(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _bare(inner, are_names=key == "properties" and not are_names)
        for key, inner in value.items()
        if are_names or key != "x-mcp-header"
    }


def _create(path: Path, text: str) -> None:
    """Make the file, whole, unless there is one: a version never changes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    fd = private(str(partial), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(0o644)
        os.link(partial, path)
    except FileExistsError as error:
        raise CommandError(f"{path}: is there already; a version never changes") from error
    finally:
        partial.unlink(missing_ok=True)
