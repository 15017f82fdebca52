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
    NEED,
    NEED_WEIGHT,
    Floats,
    Priors,
    Reading,
    Weights,
    foreign,
    sigmoid,
)

# System prompts repeat; this many are remembered.
SYSTEM_CACHE = 1000


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
        heads, _ = self._heads(Reading.of(conversation.last_user))
        kind = min(float(heads[KIND]) + self._prior(conversation), KIND_CAP)
        return sigmoid(kind + NEED_WEIGHT * float(heads[NEED]))

    def calibrate(self, raw: float) -> float:
        x, y = self._knots
        if not x[0] <= raw < x[-1]:
            return y[0] if raw < x[0] else y[-1]
        at = bisect_right(x, raw) - 1
        slope = (y[at + 1] - y[at]) / (x[at + 1] - x[at])
        return slope * (raw - x[at]) + y[at]

    def features(self, conversation: Conversation) -> dict[str, float]:
        """The parts of the score and the surface features of the last user turn."""
        reading = Reading.of(conversation.last_user)
        heads, part = self._heads(reading)
        return {
            **dict(zip(HEADS, heads.tolist(), strict=True)),
            "prior": self._prior(conversation),
            "foreign": part,
            **dict(zip(SURFACE_NAMES, reading.surface.tolist(), strict=True)),
        }

    @abstractmethod
    def _from_words(self, reading: Reading) -> tuple[Floats, float]:
        """What the words add to each head, and word pieces a word."""

    def _heads(self, reading: Reading) -> tuple[Floats, float]:
        """The heads, shape (heads,), and how foreign the words are."""
        w = self._weights
        added, pieces_a_word = self._from_words(reading)
        # np.clip takes three times as long.
        surface = np.minimum(np.maximum(reading.surface, w.least), w.most)
        heads: Floats = w.bias + surface @ w.marks + added
        part = foreign(len(reading.words), pieces_a_word, float(reading.surface[NON_ASCII_SHARE]))
        if part > 0.0:
            alone = w.bias_alone + surface @ w.marks_alone
            heads = (1.0 - part) * heads + part * alone
        return heads, part

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
            heads, _ = self._heads(Reading.of(system))
            kind = self._systems[key] = sigmoid(float(heads[KIND]))
            if len(self._systems) > SYSTEM_CACHE:
                self._systems.popitem(last=False)
        return kind

    def _has_read(self, system: str) -> bool:
        return _key(system) in self._systems


def _key(system: str) -> bytes:
    return blake2b(system.encode("utf-8", "surrogatepass"), digest_size=16).digest()
