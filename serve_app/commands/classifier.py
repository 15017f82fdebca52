"""`pointsman classifier`: what needs no deployment, and calibrating and labelling with one."""

from __future__ import annotations

from typing import Any

from classifier import cli
from serve_app.commands.calibrate.command import add_calibrate
from serve_app.commands.label.cascade import add_cascade
from serve_app.commands.label.command import add_label


def add_commands(subparsers: Any) -> None:
    actions = cli.add_commands(subparsers)
    add_calibrate(actions)
    add_label(actions)
    add_cascade(actions)
