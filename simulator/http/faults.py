"""Faults on purpose: by control words, at random, or switched on at run time."""

from __future__ import annotations

import os
import signal
from random import Random

from pydantic import Field

from simulator.model.profile import Strict

CUT_AFTER_TOKENS = 3


class Faults(Strict):
    """Shares of requests that go wrong, and how slow the engine is.

    Attributes:
        fail: share answered with 500.
        hang: share never answered.
        cut: share whose stream is cut after three tokens.
        slowdown: every step takes so many times as long (a card that throttles).
        die: end the process without a word, now.

    """

    fail: float = Field(0, ge=0, le=1)
    hang: float = Field(0, ge=0, le=1)
    cut: float = Field(0, ge=0, le=1)
    slowdown: float = Field(1, gt=0)
    die: bool = False

    def strike(self, newest: str, random: Random) -> str:
        """The fault that meets one request: `fail`, `hang`, `cut`, `die` or nothing.

        Control words in the newest user message come first: [fail], [hang],
        [break], [die].
        """
        for word, fault in _WORDS.items():
            if word in newest:
                return fault
        if not (self.fail or self.hang or self.cut):
            return ""
        drawn = random.random()
        for fault, share in (("fail", self.fail), ("hang", self.hang), ("cut", self.cut)):
            if drawn < share:
                return fault
            drawn -= share
        return ""


NO_FAULTS = Faults()

_WORDS = {"[fail]": "fail", "[hang]": "hang", "[break]": "cut", "[die]": "die"}


def die() -> None:
    """End this process as the kernel's out-of-memory killer would."""
    os.kill(os.getpid(), signal.SIGKILL)
