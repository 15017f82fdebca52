"""Prometheus texts of several processes as one."""

from __future__ import annotations


def merge_expositions(parts: list[tuple[dict[str, str], str]]) -> str:
    """Join Prometheus texts into one, each metric's header once; add labels to every sample."""
    headers: dict[str, dict[str, str]] = {}
    samples: dict[str, list[str]] = {}
    for labels, text in parts:
        extra = ",".join(f'{key}="{value}"' for key, value in labels.items())
        family = ""
        # Not splitlines(): label values may hold other line separators.
        for line in text.split("\n"):
            if line.startswith(("# HELP ", "# TYPE ")):
                _, kind, family, *_ = line.split(" ", 3)
                headers.setdefault(family, {}).setdefault(kind, line)
            elif line and not line.startswith("#"):
                headers.setdefault(family, {})
                samples.setdefault(family, []).append(_labelled(line, extra))
    out: list[str] = []
    for family, kinds in headers.items():
        out += [*kinds.values(), *samples.get(family, [])]
    return "\n".join(out) + "\n"


def _labelled(line: str, extra: str) -> str:
    if not extra:
        return line
    name, brace, rest = line.partition("{")
    if brace:
        return f"{name}{{{extra},{rest}"
    name, _, value = line.partition(" ")
    return f"{name}{{{extra}}} {value}"
