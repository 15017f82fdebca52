"""The summaries that one request finds, and those that it wants made.

A request is shaped once with what is known at this ingress replica, and what is missing is
noted. If anything is, the request waits for it and is shaped again; what is still missing then
is done without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from router.summaries.keys import Key, result_key
from serve_app.config.summaries import SummaryConfig
from serve_app.summaries.source import Chain, Kind, Source, result_note

WITHOUT = ""
"""In a summary's place: this session does without it, so that its prefix stays the same."""

Known = Callable[[Key], str | None]
"""A summary's text, or `WITHOUT`; None: nothing is known."""


class SummaryView:
    """One request's summaries.

    Attributes:
        wanted: what is missing, by key, in the order of the conversation.

    """

    def __init__(self, known: Known, results: SummaryConfig | None = None) -> None:
        self.wanted: dict[Key, Source] = {}
        self._results = results
        self._known = known
        # Memory is bounded: what was found once is not looked for again.
        self._found: dict[Key, str] = {}
        self._is_settled = False

    def find(self, key: Key) -> str | None:
        text = self._found.get(key)
        if text is not None:
            return text
        if self._is_settled:
            return WITHOUT
        text = self._known(key)
        if text is not None:
            self._found[key] = text
        return text

    def of_result(self, text: str, max_bytes: int, item: int) -> str | None:
        """What stands for a long result; None: it is shortened, for now or for good."""
        if self._results is None:
            return None
        key = result_key(text, max_bytes)
        summary = self.find(key)
        if summary is None:
            # One that comes twice is wanted where it came last.
            self.wanted[key] = Source(Kind.RESULT, key, self._results, text, item=item)
        return result_note(summary, text, max_bytes) if summary else None

    def of_turns(self, key: Key, chain: Chain, config: SummaryConfig) -> str | None:
        """The summary of the turns before the cut; None: they are dropped."""
        summary = self.find(key)
        if summary is None:
            self.wanted[key] = Source(Kind.TURNS, key, config, chain=chain)
        return summary or None

    def leave_out(self, before: int) -> None:
        """Want no results of messages before this index: the engine will not read them."""
        self.wanted = {
            key: source
            for key, source in self.wanted.items()
            if source.kind is Kind.TURNS or source.item >= before
        }

    def settle(self, found: Mapping[Key, str]) -> None:
        """Take what was made; everything else is done without from now on."""
        self._found.update(found)
        self._is_settled = True
        self.wanted = {}
