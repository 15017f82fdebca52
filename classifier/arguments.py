"""What the actions and options of a command have in common."""

import argparse
from typing import Any


def add_action(actions: Any, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    """An action with an example in its help and `--json`."""
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=summary, description=summary, epilog=f"example: {example}"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def positive(text: str) -> int:
    """A whole number from 1 on; what `type=` of an option is given."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("should be at least 1")
    return number
