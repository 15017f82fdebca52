"""Compiled twins of what is written in Python: which there are, and which this process takes.

The one place that names them. setup.py compiles them where Cython and a C compiler are, and says
in one line each what became of it; the product takes one where it was built from the text beside
it. One switch of environment is for all of them, at build and at start. This imports the standard
library alone: it runs before anything is installed.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import ModuleType

SWITCH = "POINTSMAN_PUMP"
WISHES = ("auto", "native", "python")
BY_WISH = f"{SWITCH}=python"
ROOT = Path(__file__).resolve().parents[1]


class NativeError(ValueError):
    """A compiled twin that was asked for and cannot be had; or the switch says something else."""


@dataclass(frozen=True, slots=True)
class Native:
    """One compiled module.

    Attributes:
        what: it does, for the line that setup.py says of it.
        module: its name; the text that it is built from has the same, with `.pyx`, and includes
            what is beside it with `.pxi`.

    """

    what: str
    module: str

    @property
    def source(self) -> Path:
        return ROOT.joinpath(*self.module.split(".")).with_suffix(".pyx")

    def digest(self) -> str:
        """Of the text that is compiled; what was built says of which it was. Raises OSError."""
        texts = [self.source, *sorted(self.source.parent.glob("*.pxi"))]
        return hashlib.blake2b(b"".join(x.read_bytes() for x in texts), digest_size=16).hexdigest()

    def built(self) -> ModuleType:
        """Raises ImportError where it was not built."""
        return import_module(self.module)


PUMP = Native("pump of streamed tokens", "serve_app.relay.pump._native")
LEXICON = Native("classifier of prompts", "classifier.features._native")
NATIVES = (PUMP, LEXICON)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which twin this process takes, and why; `module` is None for the one in Python."""

    module: ModuleType | None
    reason: str

    @property
    def twin(self) -> str:
        return "python" if self.module is None else "native"

    @property
    def is_wanted(self) -> bool:
        """Whether the other twin would not be taken if it were there."""
        return self.module is not None or self.reason == BY_WISH


@functools.cache
def chosen(native: Native) -> Choice:
    """Return this process's choice, made once. Raises NativeError where it cannot be had."""
    return choose(native, wanted(), native.built)


def wanted() -> str:
    """Return which twins are wanted, of `WISHES`. Raises NativeError for anything else."""
    given = os.environ.get(SWITCH) or "auto"
    if given not in WISHES:
        near = get_close_matches(given, WISHES, 1)
        message = f"{SWITCH}: '{given}' is none of {', '.join(WISHES)}"
        raise NativeError(message + "".join(f"; did you mean '{name}'?" for name in near))
    return given


def choose(native: Native, wish: str, built: Callable[[], ModuleType]) -> Choice:
    """Return the twin for what is wished; `built` imports the compiled one."""
    if wish == "python":
        return Choice(None, BY_WISH)
    try:
        module = built()
    except ImportError as error:
        return _without(native, wish, f"not built ({error.msg}); scripts/install says why")
    if _digest(native) != module.SOURCE:
        return _without(native, wish, "built from another text: run scripts/install")
    return Choice(module, "built from this text")


def missing() -> list[str]:
    """Which of them, by name, were not built from the texts that are here."""
    return [
        native.module for native in NATIVES if choose(native, "auto", native.built).module is None
    ]


def _digest(native: Native) -> str | None:
    try:
        return native.digest()
    except OSError:
        return None


def _without(native: Native, wish: str, reason: str) -> Choice:
    if wish == "native":
        message = f"{SWITCH}=native: {native.what}: {reason}"
        raise NativeError(message)
    return Choice(None, reason)
