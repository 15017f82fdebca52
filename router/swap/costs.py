"""What swapping has cost so far, and so what it will."""

from __future__ import annotations

from router.swap.terms import Phase

FIRST_GUESS_S = {Phase.ASLEEP: 5.0, Phase.UNLOADED: 60.0}
"""Seconds until a lane of that phase serves, before it was ever woken. vLLM's own measurements
have 0.1 to 6 s from level 1 and 30 to 100 s for a start
(https://blog.vllm.ai/2025/10/26/sleep-mode.html)."""

FIRST_DRAIN_S = 10.0
"""Seconds until the streams of a lane that was closed have ended, before that was ever seen."""

NEWEST_SHARE, DEVIATION_SHARE = 1 / 8, 1 / 4
DEVIATIONS = 2.0
PEAK_KEPT = 0.95
"""Of the longest one, for each newer one: the longest stream of many decides how long a lane
takes to empty, and a mean knows little of it."""


class Estimate:
    """A duration: smoothed mean and deviation, as RFC 6298 has them of round trips, and peak."""

    def __init__(self) -> None:
        self._mean: float | None = None
        self._deviation = self._peak = 0.0

    def note(self, seconds: float) -> None:
        self._peak = max(seconds, PEAK_KEPT * self._peak)
        if self._mean is None:
            self._mean, self._deviation = seconds, seconds / 2
            return
        error = seconds - self._mean
        self._deviation += DEVIATION_SHARE * (abs(error) - self._deviation)
        self._mean += NEWEST_SHARE * error

    def safe(self, guess_s: float) -> float:
        """Return what it hardly takes longer than, or the guess while nothing is known."""
        if self._mean is None:
            return guess_s
        return max(self._peak, self._mean + DEVIATIONS * self._deviation)

    def usual(self, guess_s: float) -> float:
        """Return the mean, or the guess while nothing is known."""
        return guess_s if self._mean is None else self._mean


class LaneCosts:
    """The durations of one lane's swaps: waking by where from, ending streams, falling asleep."""

    def __init__(self) -> None:
        self._wake = {phase: Estimate() for phase in FIRST_GUESS_S}
        self._drain, self._rest = Estimate(), Estimate()

    def woken(self, origin: Phase, seconds: float) -> None:
        self._wake[origin].note(seconds)

    def drained(self, seconds: float) -> None:
        self._drain.note(seconds)

    def rested(self, seconds: float) -> None:
        self._rest.note(seconds)

    def wake_s(self, origin: Phase) -> float:
        """Return how long waking takes, rather too long than too short."""
        return self._wake[origin].safe(FIRST_GUESS_S[origin])

    def usual_wake_s(self, origin: Phase, guess_s: float | None = None) -> float:
        """Return how long it has taken; the guess while it was never woken from there."""
        return self._wake[origin].usual(FIRST_GUESS_S[origin] if guess_s is None else guess_s)

    @property
    def leave_s(self) -> float:
        """How long it takes from closing the lane until its card is free."""
        return self._drain.safe(FIRST_DRAIN_S) + self._rest.safe(1.0)
