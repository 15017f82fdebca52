"""Two texts side by side, with what differs marked word by word."""

from __future__ import annotations

import json
import re
from difflib import SequenceMatcher

from evals.replay.report.markup import Markup, element, joined
from evals.replay.said import Said
from evals.replay.tool_f1 import ToolCall

MAX_CHARS = 4000
"""Of a text that is shown; comparing takes the product of both lengths."""

_PIECES = re.compile(r"\s+|\w+|[^\w\s]")


def side_by_side(left: str, right: str) -> tuple[Markup, Markup]:
    """Return both texts; what only the left has is in `del`, what only the right has in `ins`."""
    one, other = _pieces(left), _pieces(right)
    lefts: list[Markup] = []
    rights: list[Markup] = []
    for kind, a, b, c, d in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        before, after = "".join(one[a:b]), "".join(other[c:d])
        if kind == "equal":
            lefts.append(joined(before))
            rights.append(joined(after))
            continue
        if before:
            lefts.append(element("del", before))
        if after:
            rights.append(element("ins", after))
    return joined(*lefts), joined(*rights)


def _pieces(text: str) -> list[str]:
    return _PIECES.findall(cut(text))


def cut(text: str, most: int = MAX_CHARS) -> str:
    """Return a text as far as it is shown."""
    left = len(text) - most
    return text if left <= 0 else f"{text[:most]} … ({left:,} characters more)"


def told(said: Said) -> str:
    """Return an answer as people read it: its calls, then its text."""
    parts = [call_text(call) for call in said.calls]
    if said.text.strip() or not parts:
        parts.append(said.text.strip() or "(nothing)")
    if said.finish == "length":
        parts.append("(cut by max_tokens)")
    elif (said.finish or "").startswith("refused:"):
        parts.append(f"({said.finish})")
    return "\n\n".join(parts)


def call_text(call: ToolCall) -> str:
    """Return a call with an argument a line, in the order of their names: what differs lines up."""
    try:
        arguments = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        return f"{call.name}(no JSON: {call.arguments})"
    if not isinstance(arguments, dict):
        return f"{call.name}(no object: {call.arguments})"
    lines = [
        f"  {name}: {json.dumps(value, ensure_ascii=False, sort_keys=True)}"
        for name, value in sorted(arguments.items())
    ]
    return "\n".join([f"{call.name}(", *lines, ")"]) if lines else f"{call.name}()"
