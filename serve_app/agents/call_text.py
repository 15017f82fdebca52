"""Text that has the shape of a call: what an engine's parser should have taken out.

A call that is left in the text is the quietest fault there is: status 200, no call, and
an agent that stops. Looked for where tools were offered, in what is said to the user.
"""

from __future__ import annotations

import re

from serve_app.agents.tools import Tools

# How models' templates begin a call, as vLLM's parsers know them (vllm/tool_parsers).
MARKS = ("<tool_call>", "<|tool_call|>", "<|python_tag|>", "[TOOL_CALLS]", "<function=")
_LONGEST = max(map(len, MARKS))
_FIRST = re.compile(r"[<\[{]")
"""What every mark begins with, and a call without one: other text is no call's beginning."""

# Llama 3's JSON form has no mark: the whole answer is an object, or several. Text before it
# keeps the pinned parser from reading a stream of it, so it is looked for within text, too,
# where it needs the arguments beside the name to be one.
_OPENINGS = ('{"name":"', '{"function":"')
_BARE = re.compile(r'\s*\{\s*"(?:name|function)"\s*:\s*"(?P<name>[^"]*)"')
_KIND = '{"type":"function",'
_WITHIN = re.compile(
    r'\{\s*(?:"type"\s*:\s*"function"\s*,\s*)?"name"\s*:\s*"(?P<name>[^"]{1,256})"'
    r'\s*,\s*"(?:arguments|parameters)"\s*:'
)
_AFTER_NAME = (',"arguments":', ',"parameters":')
_MAX_HEAD = 400
"""Characters that a call without a mark may take up to its arguments."""

_NAMES = re.compile(
    r'"(?:name|function)"\s*:\s*"(?P<member>[^"]{1,256})"'
    r"|<function\s*=\s*(?P<tag>[^>\s]{1,256})"
    r"|^\s*(?P<head>[\w-]{1,256}?)(?:\.call)?\s*[\[({]"
)
_MAX_READ = 4_000
MAX_HELD_CHARS = 2**18
"""Of text that begins like a call; what goes on for longer is text."""


class TextWatch:
    """Watches the text of one answer for the beginning of a call.

    Attributes:
        held: the text from where a call may begin; empty while none does.

    """

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._is_at_start = True
        self._is_sure = False
        self.held = ""

    def feed(self, text: str) -> bool:
        """Take what is said next; return whether it has to wait."""
        if not self.held and _FIRST.search(text) is None:
            if self._is_at_start and text.strip():
                self._is_at_start = False
            return False
        held = self.held + text
        if len(held) > MAX_HELD_CHARS:
            self._is_sure, self._is_at_start, self.held = False, False, ""
            return False
        if self._is_sure:
            self.held = held
            return True
        at = self._begins_at(held)
        self.held = held if at is not None else ""
        if at is None and held.strip():
            self._is_at_start = False
        return at is not None

    def _begins_at(self, text: str) -> int | None:
        found = [at for mark in MARKS if (at := text.find(mark)) >= 0]
        if found:
            self._is_sure = True
            return min(found)
        if self._is_at_start and self._may_be_bare(text):
            return 0
        within = self._within_at(text)
        if within is not None:
            return within
        for opening in _FIRST.finditer(text, max(len(text) - _LONGEST, 0)):
            if _begins_mark(text[opening.start() :]):
                return opening.start()
        return None

    def _within_at(self, text: str) -> int | None:
        """Where a call without a mark begins, or may begin at the text's end."""
        if "{" not in text:
            return None
        for found in _WITHIN.finditer(text):
            if found["name"] in self._tools.schemas:
                self._is_sure = True
                return found.start()
        at = text.find("{", max(len(text) - _MAX_HEAD, 0))
        while at >= 0:
            if self._may_go_on("".join(text[at:].split())):
                return at
            at = text.find("{", at + 1)
        return None

    def _may_go_on(self, squeezed: str) -> bool:
        """Return whether text without its white space is the beginning of a call."""
        if _KIND.startswith(squeezed):
            return True
        squeezed = squeezed.replace(_KIND, "{", 1)
        begins = _OPENINGS[0]
        if not squeezed.startswith(begins):
            return begins.startswith(squeezed)
        name, quote, after = squeezed.removeprefix(begins).partition('"')
        if not quote:
            return any(offered.startswith(name) for offered in self._tools.schemas)
        return name in self._tools.schemas and any(x.startswith(after) for x in _AFTER_NAME)

    def _may_be_bare(self, text: str) -> bool:
        found = _BARE.match(text)
        if found is not None:
            return found["name"] in self._tools.schemas
        squeezed = "".join(text[:400].split())
        if any(start.startswith(squeezed) for start in _OPENINGS):
            return bool(squeezed)
        # Inside the name.
        return any(squeezed.startswith(start) for start in _OPENINGS) and len(text) < 400

    def called(self) -> tuple[str, list[str]] | None:
        """Return what the held text is: text to keep, and the tools it calls; None: no call.

        A mark alone is no call: an answer may speak of `<tool_call>`.
        """
        at = self._begins_at(self.held) if self.held else None
        if at is None:
            return None
        shape = self.held[at : at + _MAX_READ]
        for mark in MARKS:
            if mark != "<function=":
                shape = shape.removeprefix(mark)
        names = (
            found["member"] or found["tag"] or found["head"] for found in _NAMES.finditer(shape)
        )
        offered = [name for name in names if name in self._tools.schemas]
        return (self.held[:at], offered) if offered else None


def _begins_mark(tail: str) -> bool:
    return any(mark.startswith(tail) for mark in MARKS)
