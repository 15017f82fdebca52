"""The `pointsman` command: an explicit list of subcommands."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from classifier.artifact import ArtifactError
from classifier.cli import add_commands as add_classifier_commands
from serve_app.commands import (
    admin,
    advise,
    client,
    connect,
    doctor,
    experiments,
    observe,
    plan,
    ports,
    serve,
    simulate,
    tenants,
    tools,
    traces,
)
from serve_app.commands.calibrate.command import add_calibrate
from serve_app.commands.client import CommandError
from serve_app.commands.label.cascade import add_cascade
from serve_app.commands.label.command import add_label
from serve_app.commands.replay import command as replay
from serve_app.config.errors import ConfigError


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pointsman",
        description="Routes, keys, configuration and training of a Pointsman deployment.",
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve.add_commands(subparsers)
    client.add_commands(subparsers)
    connect.add_commands(subparsers)
    advise.add_commands(subparsers)
    doctor.add_commands(subparsers)
    tenants.add_commands(subparsers)
    tools.add_commands(subparsers)
    traces.add_commands(subparsers)
    plan.add_commands(subparsers)
    simulate.add_commands(subparsers)
    replay.add_commands(subparsers)
    ports.add_commands(subparsers)
    observe.add_commands(subparsers)
    admin.add_commands(subparsers)
    experiments.add_commands(subparsers)
    classifier = add_classifier_commands(subparsers)
    add_calibrate(classifier)
    add_label(classifier)
    add_cascade(classifier)
    return parser


PIPE_CLOSED = 128 + signal.SIGPIPE
"""As a shell has it of a program that the signal ends."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; its exit status is 0, 1 (it said why) or 2 (usage)."""
    args = build_parser().parse_args(argv)
    try:
        status = int(args.func(args) or 0)
        sys.stdout.flush()
    except BrokenPipeError:
        # `| head` has read enough. What is still buffered has nowhere to go, either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except (ConfigError, CommandError, ArtifactError, ValueError) as error:
        # ValueError is how rows and figures say what is wrong with a file.
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
