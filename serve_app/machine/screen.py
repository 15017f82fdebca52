"""What a terminal shows while a deployment starts."""

from __future__ import annotations

import os
import shutil
import sys


class Screen:
    """Lines that stay, and on a terminal one below them that changes in place."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()

    def say(self, *lines: str) -> None:
        for text in lines:
            self._print(f"\r\x1b[K{text}\n" if self._is_terminal else f"{text}\n")

    def show(self, text: str) -> None:
        """Replace the line in place, cut to the terminal's width."""
        if self._is_terminal:
            width = shutil.get_terminal_size().columns
            self._print(f"\r\x1b[K  {text}"[: width + 3])

    def _print(self, text: str) -> None:
        try:
            print(text, end="", flush=True)
        except OSError:
            # Nobody reads any more (`make serve | head`, a closed terminal): it serves on.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
