"""Where a repeated answer stands in what was told of it."""

from __future__ import annotations

from serve_app.relay.repeat.parts import REASONING, Mark, Part


class Cursor:
    """Where a repeated answer stands in what was told.

    Attributes:
        is_past: the client has all of it; what comes is new.

    """

    def __init__(self, told: list[tuple[Mark, str]]) -> None:
        self._told = told
        self._at = self._chars = 0
        self.is_past = not told
        self.has_diverged = False

    def meet(self, part: Part) -> Part | None:
        """Return what of a part is new; None: nothing."""
        if self.is_past:
            return part
        mark, text = self._told[self._at]
        if self._chars and part.mark != mark:
            return self._think_shorter(part, mark)
        if part.mark != mark or (part.text is None) != (not text):
            self.has_diverged = True
            return None
        if part.text is None:
            self._go_on()
            return None
        return self._meet_text(part, part.text, text)

    def _meet_text(self, part: Part, said: str, told: str) -> Part | None:
        left = told[self._chars :]
        if left.startswith(said):
            self._chars += len(said)
            if self._chars == len(told):
                self._go_on()
            return None
        if self._at == len(self._told) - 1:
            if said.startswith(left):
                self._go_on()
                return part.with_text(said[len(left) :])
            if part.is_reasoning:
                # It thinks otherwise this time: from the start, in the same place.
                before, self.is_past = told[: self._chars], True
                return part.with_text(f"\n\n{before}{said}")
        self.has_diverged = True
        return None

    def _think_shorter(self, part: Part, mark: Mark) -> Part | None:
        if self._at == len(self._told) - 1 and mark[0] in REASONING:
            self.is_past = True
            return part
        self.has_diverged = True
        return None

    def _go_on(self) -> None:
        self._at, self._chars = self._at + 1, 0
        self.is_past = self._at == len(self._told)
