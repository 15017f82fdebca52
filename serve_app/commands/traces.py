"""`pointsman traces`: kept requests exported, counted, and a tenant's deleted."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from serve_app.commands.client import CommandError, subparser
from serve_app.commands.named_files import named_fleet
from serve_app.config.private_files import private
from serve_app.config.served import traces_folder
from serve_app.config.settings import state_dir

if TYPE_CHECKING:
    # pyarrow, and with the feedback Ray: other commands start without them.
    from evals.traces.trace import Trace


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    summary = "Kept requests (keep_traces_days): export, list, delete a tenant's."
    parent = subparsers.add_parser("traces", help=summary, description=summary)
    actions = parent.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_export(actions)

    listing = subparser(
        actions, "list", "Days, requests and bytes.", "pointsman traces list", remote=False
    )
    listing.set_defaults(func=_list)

    delete = subparser(
        actions,
        "delete",
        "Delete all that is kept of a tenant on this node; files are rewritten. What ended in the "
        "last traces.flush_s is written later: set keep_traces_days to 0 before, and wait so long.",
        "pointsman traces delete --tenant acme",
        remote=False,
    )
    delete.add_argument("--tenant", required=True, metavar="NAME")
    delete.set_defaults(func=_delete)
    for parser in (listing, delete):
        _add_place(parser, "a store elsewhere")


def _add_export(actions: Any) -> None:
    export = subparser(
        actions,
        "export",
        "Write kept requests, with the feedback on them, in the order of time.",
        "pointsman traces export --from 2026-11-01 --tenant acme --out acme.jsonl",
        remote=False,
    )
    add = export.add_argument
    add("--from", dest="first", type=date.fromisoformat, metavar="DAY", help="first day (UTC)")
    add("--to", dest="last", type=date.fromisoformat, metavar="DAY", help="last day (UTC)")
    add("--tenant", metavar="NAME", help="this tenant only")
    add("--lane", metavar="NAME", help="this lane only")
    add("--code", metavar="CODE", help="this outcome only, such as 200")
    add("--format", choices=("jsonl", "parquet"), default="jsonl", help="default: jsonl")
    add("--out", type=Path, metavar="FILE", help="mode 0600 (default of jsonl: standard output)")
    _add_place(export, "a store elsewhere, or one file of traces")
    export.set_defaults(func=_export)


def _add_place(parser: argparse.ArgumentParser, elsewhere: str) -> None:
    fleet = "fleet file or name that says where they are (default: the one served here)"
    parser.add_argument("--fleet", help=fleet)
    parser.add_argument("--folder", type=Path, help=elsewhere)


def _folder(args: argparse.Namespace) -> Path:
    return store_of(args.folder, args.fleet)


def store_of(given: Path | None, fleet: str | None = None) -> Path:
    """Return the traces that a command reads: those that somebody has named, else this node's.

    Of the node's own store there may be nothing yet.

    Args:
        given: a store or a file of traces.
        fleet: file or name of a fleet that says where they are; None: what is served here.

    Raises:
        CommandError: nothing is where somebody has said.

    """
    if given is None:
        return traces_folder(None if fleet is None else named_fleet(fleet))
    if not given.exists():
        raise CommandError(f"{given}: no such folder or file of traces")
    return given


def tell_damaged(path: Path, why: str) -> None:
    """Name a file that cannot be read, for whoever sits at the command."""
    print(f"pointsman: {path}: not read: {why}", file=sys.stderr)


def _whole_store(args: argparse.Namespace) -> Path:
    folder = _folder(args)
    if folder.is_file():
        raise CommandError(f"{folder}: a file, not the folder of a store")
    return folder


def _export(args: argparse.Namespace) -> int:
    from evals.traces.store import read_traces
    from serve_app.records.feedback_store import FILE_NAME

    if args.first is not None and args.last is not None and args.first > args.last:
        raise CommandError(f"--from {args.first} is after --to {args.last}")
    damaged: list[str] = []

    def tell(path: Path, why: str) -> None:
        damaged.append(str(path))
        tell_damaged(path, why)

    traces = read_traces(
        _folder(args),
        days=(args.first, args.last),
        tenant=args.tenant,
        lane=args.lane,
        code=args.code,
        feedback=state_dir() / FILE_NAME,
        on_damaged=tell,
    )
    rows = _write(args, traces)
    if args.out is not None:
        told = {"rows": rows, "file": str(args.out), "damaged": damaged}
        print(json.dumps(told) if args.json else f"{rows:,} requests in {args.out}")
    return 1 if damaged else 0


def _write(args: argparse.Namespace, traces: Iterator[Trace]) -> int:
    if args.format == "parquet":
        if args.out is None:
            raise CommandError("--format parquet needs --out FILE")
        from evals.traces.parts import write_traces

        return write_traces(args.out, traces)
    rows = 0
    with _opened(args.out) as out:
        for trace in traces:
            out.write(jsonl(trace) + "\n")
            rows += 1
    return rows


@contextmanager
def _opened(path: Path | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
        return
    with open(path, "w", encoding="utf-8", opener=private) as file:
        yield file


def jsonl(trace: Trace) -> str:
    """Write a trace as one line: every field, times in ISO 8601."""
    found = {spec.name: getattr(trace, spec.name) for spec in fields(trace)}
    return json.dumps(found | {"time": trace.time.isoformat()}, ensure_ascii=False)


def _list(args: argparse.Namespace) -> int:
    from evals.traces.folder import locked
    from evals.traces.joining import contents

    with locked(folder := _whole_store(args), exclusive=False):
        found = contents(folder)
    if args.json:
        print(json.dumps([asdict(x) | {"day": x.day.isoformat()} for x in found]))
        return 0
    for x in found:
        damaged = f"  {x.damaged} damaged" if x.damaged else ""
        print(f"{x.day}  {x.rows:>9,} requests  {x.bytes:>13,} bytes  {x.files} files{damaged}")
    rows, size = sum(x.rows for x in found), sum(x.bytes for x in found)
    print(f"{len(found)} days, {rows:,} requests, {size:,} bytes in {folder}")
    return 0


def _delete(args: argparse.Namespace) -> int:
    from evals.traces.folder import locked
    from evals.traces.joining import forget_tenant

    folder = _whole_store(args)
    with locked(folder, exclusive=True):
        done = forget_tenant(folder, args.tenant)
    if args.json:
        damaged = [str(path) for path in done.damaged]
        print(json.dumps({"rows": done.rows, "files": done.files, "damaged": damaged}))
    else:
        print(f"{done.rows:,} requests of {args.tenant} deleted from {done.files} files")
    for path in done.damaged:
        print(f"pointsman: {path}: cannot be read, and stays as it is", file=sys.stderr)
    return 1 if done.damaged else 0
