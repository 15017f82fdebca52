"""From a conversation to one number: what routing needs of any classifier."""

from typing import Protocol

from classifier.features.conversation import Conversation


class Scorer(Protocol):
    """A classifier that is ready to serve."""

    @property
    def version(self) -> str:
        """Names the artefact; scores of different versions do not compare."""

    def score(self, conversation: Conversation) -> float:
        """Complexity in [0, 1]; higher means more complex."""

    def raw(self, conversation: Conversation) -> float:
        """The same before calibration, in (0, 1): the same order."""

    def features(self, conversation: Conversation) -> dict[str, float]:
        """What the score was made of, for people."""
