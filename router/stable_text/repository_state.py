"""The state of a repository in a prompt: `git status`, branches, last commits.

Coding agents paste it into the system prompt. A heading begins it; what looks like
git's own output belongs to it, and the first line that does not ends it.
"""

from __future__ import annotations

import re

_HEADING = re.compile(
    r"\W*(?:(?:current )?git[ _-]?status|repository (?:status|state)|git (?:state|info))\b"
)
_TITLE_WORDS = 4
# Wherever they stand. A `branch:` alone may be a bank's.
_LABEL = re.compile(
    r"\W*(?:(?:current|git|active|working)[ _]branch\b[^:]{0,80}:|on branch \S+$"
    r"|head (?:detached|is now) at|(?:latest|last|recent|head) commits?\W*(?::|$)"
    r"|your branch (?:is|and) )"
)
# Only in such a part. A path has no blanks, or quotes around it.
_PORCELAIN = re.compile(r"[ MADRCUT?!]{1,2}[ \t]+(?:\"[^\"]*\"|\S+(?: -> \S+)?)\s*$")
_OUTPUT = re.compile(
    r"## \S|(?:\W? ?commit )?[0-9a-f]{7,40}\b|\t|\s*\(use "
    r"|\W*(?:(?:main|default|base) branch|branch|head|status|staged|unstaged|untracked|modified"
    r"|deleted|renamed|new file|changes|ahead|behind|stash(?:es)?|upstream|remotes?|git [a-z]+"
    r")\b[^.:]{0,60}:"
    r"|no changes added|nothing (?:to commit|added)|(?:working tree|your branch) "
)


_NOTHING = frozenset(("", "clean", "none", "no changes"))


def without_repository_state(text: str) -> list[str]:
    """Return the lines of a text but the repository's state."""
    kept, is_inside = [], False
    for line in text.splitlines():
        low = line.lower()
        if _may_begin(low) and (_is_heading(low) or _LABEL.match(low)):
            is_inside = True
        elif is_inside and not _is_output(line, low):
            is_inside = False
        if not is_inside:
            kept.append(line)
    return kept


def _is_output(line: str, low: str) -> bool:
    if low.strip(" \t()*-.") in _NOTHING:
        return True
    return _OUTPUT.match(low) is not None or _PORCELAIN.match(line) is not None


def _may_begin(low: str) -> bool:
    """Return whether a line has a word that begins such a part; most have none."""
    return "git" in low or "branch" in low or "commit" in low or "head" in low or "repo" in low


def _is_heading(low: str) -> bool:
    """`gitStatus: ...`, `## Git status`: a title or a label, not a sentence that speaks of it."""
    return _HEADING.match(low) is not None and (":" in low or len(low.split()) <= _TITLE_WORDS)
