"""What swapping has cost so far, and so what it will."""

from __future__ import annotations

from router.swap.terms import Phase

FIRST_GUESS_S = {Phase.ASLEEP: 5.0, Phase.UNLOADED: 60.0}
"""Seconds until a lane of that phase serves, before it was ever woken. vLLM's own measurements
have 0.1 to 6 s from level 1 and 30 to 100 s for a start
(https://blog.vllm.ai/2025/10/26/sleep-mode.html)."""
FIRST_STREAM_S = 10.0
"""Seconds that the longest stream takes, before any has ended."""
STREAM_HALF_LIFE_S = 600.0
"""After so long, the longest stream that was seen counts half."""
FIRST_REST_S = 1.0

NEWEST_SHARE = 1 / 8
"""In the mean; RFC 6298 smooths round trips so."""
PEAK_KEPT = 0.99
"""Of the longest one, for each newer one."""


class Estimate:
    """How long something takes: its smoothed mean, and its slowly forgotten peak."""

    def __init__(self) -> None:
        self._mean: float | None = None
        self._peak = 0.0

    def note(self, seconds: float) -> None:
        self._peak = max(seconds, PEAK_KEPT * self._peak)
        before = seconds if self._mean is None else self._mean
        self._mean = before + NEWEST_SHARE * (seconds - before)

    def safe(self, guess_s: float) -> float:
        """Return what it hardly takes longer than, or the guess while nothing is known."""
        return guess_s if self._mean is None else self._peak

    def usual(self, guess_s: float) -> float:
        """Return the mean, or the guess while nothing is known."""
        return guess_s if self._mean is None else self._mean


class LaneCosts:
    """The durations of one lane's swaps: waking by where from, ending streams, falling asleep.

    A lane that is closed is empty after its longest stream at the latest, so that is what is
    reckoned with: a mean of earlier drains knows little of the next one.
    """

    def __init__(self) -> None:
        self._wake = {phase: Estimate() for phase in FIRST_GUESS_S}
        self._rest = Estimate()
        self._longest: tuple[float, float] | None = None

    def woken(self, origin: Phase, seconds: float) -> None:
        self._wake[origin].note(seconds)

    def streamed(self, seconds: float, now: float) -> None:
        """Note how long a stream of it took."""
        if self._longest is None or seconds >= self._stream_s(now):
            self._longest = seconds, now

    def _stream_s(self, now: float) -> float:
        if self._longest is None:
            return FIRST_STREAM_S
        seconds, at = self._longest
        left: float = seconds * 0.5 ** ((now - at) / STREAM_HALF_LIFE_S)
        return left

    def rested(self, seconds: float) -> None:
        self._rest.note(seconds)

    def wake_s(self, origin: Phase) -> float:
        """Return how long waking takes, rather too long than too short."""
        return self._wake[origin].safe(FIRST_GUESS_S[origin])

    def usual_wake_s(self, origin: Phase, guess_s: float | None = None) -> float:
        """Return how long it has taken; the guess while it was never woken from there."""
        return self._wake[origin].usual(FIRST_GUESS_S[origin] if guess_s is None else guess_s)

    def leave_s(self, now: float) -> float:
        """Return how long it takes from closing the lane until its card is free."""
        return self._stream_s(now) + self._rest.safe(FIRST_REST_S)
