"""From a conversation to one number: what routing needs of any classifier."""

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import OrderedDict
from hashlib import blake2b
from math import log2

import numpy as np

from classifier.features.conversation import Conversation
from classifier.features.surface import NON_ASCII_SHARE, SURFACE_NAMES
from classifier.heads import (
    HEADS,
    KIND,
    KIND_CAP,
    NEED_WEIGHT,
    Priors,
    Reading,
    Weights,
    foreign,
    sigmoid,
)

# System prompts repeat; this many are remembered.
SYSTEM_CACHE = 1000


Heads = tuple[float, float, float]
"""`need`, `kind` and how foreign the words are."""


class Scorer(ABC):
    """Scores conversations; one instance an ingress replica, not thread-safe.

    Scores of different versions do not compare.
    """

    def __init__(self, version: str, weights: Weights, priors: Priors) -> None:
        self._version = version
        self._weights = weights
        self._knots: tuple[list[float], list[float]] = (
            weights.knots_x.tolist(),
            weights.knots_y.tolist(),
        )
        self._priors = priors
        self._systems: OrderedDict[bytes, float] = OrderedDict()

    @property
    def version(self) -> str:
        return self._version

    def score(self, conversation: Conversation) -> float:
        """The calibrated probability that the stronger lane is needed; higher is more complex."""
        return self.calibrate(self.raw(conversation))

    def raw(self, conversation: Conversation) -> float:
        """The score before calibration, in (0, 1): the same order."""
        need, kind, _ = self._heads(conversation.last_user)
        return sigmoid(min(kind + self._prior(conversation), KIND_CAP) + NEED_WEIGHT * need)

    def calibrate(self, raw: float) -> float:
        x, y = self._knots
        if not x[0] <= raw < x[-1]:
            return y[0] if raw < x[0] else y[-1]
        at = bisect_right(x, raw) - 1
        slope = (y[at + 1] - y[at]) / (x[at + 1] - x[at])
        return slope * (raw - x[at]) + y[at]

    def features(self, conversation: Conversation) -> dict[str, float]:
        """The parts of the score and the surface features of the last user turn."""
        heads, surface = self._told(conversation.last_user)
        return {
            **dict(zip(HEADS, heads, strict=False)),
            "prior": self._prior(conversation),
            "foreign": heads[-1],
            **dict(zip(SURFACE_NAMES, surface, strict=True)),
        }

    @abstractmethod
    def _told(self, text: str) -> tuple[Heads, list[float]]:
        """The heads, and the surface features that they were read from."""

    def _heads(self, text: str) -> Heads:
        return self._told(text)[0]

    def _prior(self, conversation: Conversation) -> float:
        p = self._priors
        prior = p.turns * min(log2(max(conversation.user_turns, 1)), p.max_turns)
        if conversation.tools:
            prior += p.tools
        if conversation.system:
            prior += p.system * (2.0 * self._system_kind(conversation.system) - 1.0)
        return prior

    def _system_kind(self, system: str) -> float:
        key = _key(system)
        kind = self._systems.get(key)
        if kind is None:
            kind = self._systems[key] = sigmoid(self._heads(system)[KIND])
            if len(self._systems) > SYSTEM_CACHE:
                self._systems.popitem(last=False)
        return kind

    def _has_read(self, system: str) -> bool:
        return _key(system) in self._systems


class PythonScorer(Scorer):
    """Reads a text in Python; what its words say is left open.

    Sums are made one term after the other, as the compiled twin makes them: both then give the
    same bits. So few numbers take numpy longer.
    """

    def __init__(self, version: str, weights: Weights, priors: Priors) -> None:
        super().__init__(version, weights, priors)
        self._lines, (*self._bias, self._need_alone, self._kind_alone) = lines_of(weights)

    @abstractmethod
    def _from_words(self, reading: Reading) -> tuple[float, float, float]:
        """What the words add to `need` and to `kind`, and word pieces a word."""

    def _told(self, text: str) -> tuple[Heads, list[float]]:
        reading = Reading.of(text)
        surface = reading.surface
        more_need, more_kind, pieces_a_word = self._from_words(reading)
        part = foreign(len(reading.words), pieces_a_word, surface[NON_ASCII_SHARE])
        need, kind = self._bias
        held = []
        for value, (least, most, to_need, to_kind, _, _) in zip(surface, self._lines, strict=True):
            inside = least if value < least else min(value, most)
            held.append(inside)
            need += inside * to_need
            kind += inside * to_kind
        need, kind = need + more_need, kind + more_kind
        if part > 0.0:
            need_alone, kind_alone = self._alone(held)
            need = (1.0 - part) * need + part * need_alone
            kind = (1.0 - part) * kind + part * kind_alone
        return (need, kind, part), surface

    def _alone(self, held: list[float]) -> tuple[float, float]:
        """The heads that read nothing but surface features, within their bounds."""
        need, kind = self._need_alone, self._kind_alone
        for value, (_, _, _, _, to_need, to_kind) in zip(held, self._lines, strict=True):
            need += value * to_need
            kind += value * to_kind
        return need, kind


def lines_of(weights: Weights) -> tuple[list[list[float]], list[float]]:
    """What is made of each surface feature, and where the sums begin.

    Returns:
        of each feature its bounds, its weights in `need` and `kind`, and those alone in them; and
        the biases of these four.

    """
    bounds = np.stack([weights.least, weights.most], axis=1)
    lines = np.hstack([bounds, weights.marks, weights.marks_alone])
    return lines.tolist(), [*weights.bias.tolist(), *weights.bias_alone.tolist()]


def _key(system: str) -> bytes:
    return blake2b(system.encode("utf-8", "surrogatepass"), digest_size=16).digest()
