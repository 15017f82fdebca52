"""Prometheus texts of several processes as one.

Whoever has a text labels it, in its own process; joining them is cheap, because the process
that joins them has streams to pass on. In it a family is moved as one piece.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_HELP = "# HELP "


def label_exposition(text: str, labels: Mapping[str, str]) -> str:
    """Add labels in front of those of every sample."""
    extra = ",".join(f'{key}="{value}"' for key, value in labels.items())
    if not extra:
        return text
    # Not splitlines(): label values may hold other line separators.
    lines = [
        line if not line or line.startswith("#") else _labelled(line, extra)
        for line in text.split("\n")
    ]
    return "\n".join(lines)


def _labelled(line: str, extra: str) -> str:
    name, brace, rest = line.partition("{")
    if brace:
        return f"{name}{{{extra},{rest}"
    name, _, value = line.partition(" ")
    return f"{name}{{{extra}}} {value}"


def merge_expositions(texts: Sequence[str]) -> str:
    """Join Prometheus texts into one: each family once, under the first of its headers."""
    families: dict[str, _Family] = {}
    for text in texts:
        before, *pieces = f"\n{text}".split(f"\n{_HELP}")
        _take_lines(families, before)
        for piece in pieces:
            _take_piece(families, piece)
    return "".join(part for family in families.values() for part in family.parts())


@dataclass(slots=True)
class _Family:
    """Header and samples of one family; each of `samples` ends a line."""

    help: str = ""
    type: str = ""
    samples: list[str] = field(default_factory=list)

    def parts(self) -> list[str]:
        return [self.help, self.type, *self.samples]


def _take_piece(families: dict[str, _Family], piece: str) -> None:
    """Take what follows `# HELP `: usually one family with both lines of its header."""
    name, _, _ = piece.partition(" ")
    about, _, rest = piece.partition("\n")
    kind, _, samples = rest.partition("\n")
    if not kind.startswith(f"# TYPE {name} ") or samples.startswith("# ") or "\n# " in samples:
        _take_lines(families, _HELP + piece)
        return
    family = families.get(name)
    if family is None:
        family = families[name] = _Family(f"{_HELP}{about}\n", f"{kind}\n")
    samples = samples.rstrip("\n")
    if samples:
        family.samples.append(f"{samples}\n")


def _take_lines(families: dict[str, _Family], text: str) -> None:
    """Take what is not written as a piece: families of one header line, or of none."""
    name = ""
    for line in text.split("\n"):
        if line.startswith((_HELP, "# TYPE ")):
            name = line.split(" ", 3)[2]
            family = families.setdefault(name, _Family())
            if line.startswith(_HELP):
                family.help = family.help or f"{line}\n"
            else:
                family.type = family.type or f"{line}\n"
        elif line and not line.startswith("#"):
            own = name or line.partition("{")[0].partition(" ")[0]
            families.setdefault(own, _Family()).samples.append(f"{line}\n")
