"""Whether Python that a small model wrote computes what was asked: run apart, within bounds."""

from __future__ import annotations

import ast
import re
import resource
import subprocess
import sys
import tempfile

CPU_S = 2
MEMORY_BYTES = 256 * 2**20
LISTS = ([3, 1, 2, 8, 5, 5], [7, 4, 9, 2, 6, 3, 10], [1, 2, 3, 4, 5, 6, 7, 8, 9])
NUMBERS = (1, 7, 12, 30)

_FENCE = re.compile(r"```(?:python)?\n(.*?)(?:```|\Z)", re.DOTALL)
_RUN = """\
import sys
said, wanted, name, values = eval(sys.stdin.read())
found = {}
exec(said, found)
f, g = found["f"], eval(f"lambda {name}: {wanted}")
for value in values:
    one, other = f(value), g(value)
    if type(one) is not type(other) or one != other:
        sys.exit(1)
"""


def passes(said: str, wanted: str, *, kind: str) -> bool:
    """Whether what was said has the values of `wanted`, an expression, on every input.

    `kind`: `expression`, of a list `xs`, or `function`, `f` of a number `x`.
    """
    fenced = _FENCE.search(said)
    text = (fenced.group(1) if fenced else said).strip().strip("`")
    name, values = ("xs", LISTS) if kind == "expression" else ("x", NUMBERS)
    source = f"f = lambda xs: ({text.splitlines()[0]})" if kind == "expression" and text else text
    return _is_harmless(source) and _runs((source, wanted, name, values))


def _is_harmless(source: str) -> bool:
    """Whether it parses and neither imports nor reaches for the interpreter's insides."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            return False
        name = getattr(node, "attr", getattr(node, "id", ""))
        if name.startswith("_") or name in {"open", "exec", "eval", "input", "compile"}:
            return False
    return True


def _runs(given: object) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-c", _RUN],
                input=repr(given).encode(),
                capture_output=True,
                cwd=folder,
                env={},
                timeout=20,
                check=False,
                preexec_fn=_bound,
            )
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == 0


def _bound() -> None:
    """Bound what the process may take; it may write no file."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
