"""Prometheus texts: those of several processes as one, and samples read out of one.

Whoever has a text labels it, in its own process; joining them is cheap, because the process
that joins them has streams to pass on. In it a family is moved as one piece.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

_HELP = "# HELP "
_TYPE = "# TYPE "
_PARTS = "_bucket", "_sum", "_count"
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n"}


def samples_of(text: str, names: frozenset[str]) -> Iterator[tuple[str, str, float]]:
    """Yield the samples of these names: name, labels as they are written, and value.

    A text of a deployment has tens of thousands of lines, and each family's stand together
    below its header: those of a family that nobody wants are passed over at once.
    """
    for block in _blocks(text, _families(names)):
        # Not splitlines(): label values may hold other line separators.
        for line in block.split("\n"):
            # The last brace ends the labels: neither value nor time has one.
            head, brace, rest = line.rpartition("} ")
            if not brace:
                head, _, rest = line.partition(" ")
            name, _, written = head.partition("{")
            if name in names and (value := _number(rest)) is not None:
                yield name, written, value


def labels_of(written: str) -> dict[str, str]:
    return {label: _unescaped(value) for label, value in _LABEL.findall(written)}


def _blocks(text: str, families: frozenset[str]) -> Iterator[str]:
    """Yield what stands before any header, and below those of these families."""
    if not text.startswith("# "):
        yield text[: _at(text.find("\n# "), text)]
    at = 0 if text.startswith(_TYPE) else text.find("\n" + _TYPE) + 1
    is_header = at > 0 or text.startswith(_TYPE)
    while is_header:
        end = _at(text.find("\n", at), text)
        if text[at + len(_TYPE) : end].partition(" ")[0] in families:
            yield text[end + 1 : _at(text.find("\n#", end), text)]
        at = text.find("\n" + _TYPE, at) + 1
        is_header = at > 0


def _at(found: int, text: str) -> int:
    return found if found >= 0 else len(text)


@functools.cache
def _families(names: frozenset[str]) -> frozenset[str]:
    """Names as headers may have them: a histogram's samples have endings of their own."""
    return names.union(*({name.removesuffix(part) for part in _PARTS} for name in names))


def _number(text: str) -> float | None:
    """The value, without the time that may follow it."""
    try:
        return float(text.split(" ", 1)[0])
    except ValueError:
        return None


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda x: _ESCAPES.get(x[1], x[1]), text) if "\\" in text else text


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
