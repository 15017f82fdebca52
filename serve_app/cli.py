"""The `pointsman` command: an explicit list of subcommands."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from serve_app.commands.client import CommandError
from serve_app.config.errors import ConfigError

COMMANDS = {
    "serve_app.commands.serve": ("serve", "run", "init"),
    "serve_app.commands.client": ("route", "chat", "status", "reload"),
    "serve_app.commands.connect": ("connect",),
    "serve_app.commands.advise": ("advise",),
    "serve_app.commands.doctor": ("doctor",),
    "serve_app.commands.tenants": ("tenants",),
    "serve_app.commands.tools": ("tools",),
    "serve_app.commands.traces": ("traces",),
    "serve_app.commands.plan": ("plan",),
    "serve_app.commands.simulate": ("simulate",),
    "serve_app.commands.replay.command": ("replay",),
    "serve_app.commands.ports": ("ports",),
    "serve_app.commands.observe": ("observe",),
    "serve_app.commands.admin": ("drain", "audit"),
    "serve_app.commands.experiments": ("experiments",),
    "serve_app.commands.classifier": ("classifier",),
}
"""Modules whose `add_commands` adds these subcommands. All of them take over a second to import,
Ray and NumPy among them, so that only the one that is asked for is."""


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """Make the parser of one subcommand; of all where it is none of them."""
    parser = argparse.ArgumentParser(
        prog="pointsman",
        description="Routes, keys, configuration and training of a Pointsman deployment.",
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    asked = [module for module, names in COMMANDS.items() if command in names]
    for module in asked or COMMANDS:
        import_module(module).add_commands(subparsers)
    return parser


PIPE_CLOSED = 128 + signal.SIGPIPE
"""As a shell has it of a program that the signal ends."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; its exit status is 0, 1 (it said why) or 2 (usage)."""
    given = sys.argv[1:] if argv is None else argv
    args = build_parser(given[0] if given else None).parse_args(given)
    try:
        status = int(args.func(args) or 0)
        sys.stdout.flush()
    except BrokenPipeError:
        # `| head` has read enough. What is still buffered has nowhere to go, either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except (ConfigError, CommandError, ValueError) as error:
        # ValueError is how rows, figures and artefacts say what is wrong with a file.
        print(f"pointsman: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"pointsman: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
