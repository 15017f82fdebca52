"""What one ingress replica asks of a lane, in tokens: what came, what waits."""

from __future__ import annotations

from collections import deque

OVER_S = 10.0
"""The rate that is told is a mean over this time."""

NEWEST = 0.05
"""Weight of one more answer in the mean length."""


class LaneDemand:
    """Counts the tokens of the requests for one lane. A request costs two additions.

    A request's tokens are its prompt and the answer that is expected: of the lane's mean length,
    at most what it may be.
    """

    def __init__(self) -> None:
        self.offered = 0
        self.started = 0
        """Tokens of the requests that wait no more, for whatever reason."""
        self._mean_answer: float | None = None
        self._seen: deque[tuple[float, float]] = deque()

    def arrive(self, prompt_tokens: int, answer_tokens: int) -> int:
        """Count a request, and return its tokens; `answer_tokens` is the most it may answer."""
        mean = self._mean_answer
        # Whole tokens: what waits is a difference of sums, and has to be 0 where nothing does.
        # The policy takes the least rest for a queue.
        answer = answer_tokens if mean is None else min(int(mean), answer_tokens)
        tokens = prompt_tokens + answer
        self.offered += tokens
        return tokens

    def note_answer(self, tokens: int) -> None:
        mean = self._mean_answer
        self._mean_answer = tokens if mean is None else mean + NEWEST * (tokens - mean)

    def told(self, now: float) -> tuple[float, float]:
        """Return the tokens that wait, and those that came a second; call it once a second."""
        seen = self._seen
        if not seen:
            seen.append((now - OVER_S, 0.0))
        seen.append((now, self.offered))
        while len(seen) > 1 and seen[1][0] <= now - OVER_S:
            seen.popleft()
        took_s = now - seen[0][0]
        rate = (self.offered - seen[0][1]) / took_s if took_s > 0 else 0.0
        return max(0.0, self.offered - self.started), rate
