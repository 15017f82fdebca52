"""What daily replays found, in the state directory: the source of the trigger `tool_f1`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from evals.replay.history import FILE_NAME, Day, days_of, newest_f1
from serve_app.advice.signals import Values
from serve_app.config.settings import state_dir


def history_path() -> Path:
    """Where results of daily replays are kept."""
    return state_dir() / FILE_NAME


def read_history(path: Path) -> list[Day]:
    """Return what is known; nothing where there is no file. Raises OSError."""
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            return days_of(lines)
    except FileNotFoundError:
        return []


def replay_signals(lanes: Iterable[str], now: float) -> Values:
    """F1 of tool selection by lane, of the newest replay against gold that is not stale."""
    try:
        days = read_history(history_path())
    except OSError:
        # As if none had run: the other signals go on.
        return {}
    found = {lane: newest_f1(days, lane, now) for lane in lanes}
    return {("tool_f1", lane): (x[0], 1.0) for lane, x in found.items() if x is not None}
