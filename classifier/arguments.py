"""What the actions and options of a command have in common."""

import argparse
import math
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


def above_zero(text: str) -> float:
    """A number above 0, for `type=` as well."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError("should be more than 0")
    return number


def from_zero(text: str) -> float:
    """A number from 0 on, for `type=` as well."""
    number = float(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError("should be at least 0")
    return number
