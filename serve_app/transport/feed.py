"""Where bytes from an engine come in: the one step in Python, or compiled, that all of them take.

While a stream's tokens are only passed on, `push` has what comes first. `serve_app/relay/pump`
has the compiled twin.
"""

from __future__ import annotations

from collections.abc import Callable

Push = Callable[[bytes], bool | None]
"""Takes what came as it came, if it is one plain chunk; returns whether more may follow, None:
it is something else, and nothing of it was taken."""


class Feed:
    """Gives what comes on a connection to `push`, else to `otherwise`.

    Args:
        otherwise: takes what `push` has not taken.
        finish: told that `push` wants no more, or what it raised.
        clock: the event loop's.

    Attributes:
        push: None: nothing is pushed.
        heard_at: when something last came, by `clock`.
        is_between_chunks: a chunk was whole, and nothing of the next has come. Only then is
            anything pushed: the parser stands where it would after a chunk that it does not see.

    """

    __slots__ = ("_clock", "_finish", "_otherwise", "heard_at", "is_between_chunks", "push")

    def __init__(
        self,
        otherwise: Callable[[bytes], None],
        finish: Callable[[Exception | None], None],
        clock: Callable[[], float],
    ) -> None:
        self._otherwise, self._finish, self._clock = otherwise, finish, clock
        self.push: Push | None = None
        self.heard_at, self.is_between_chunks = 0.0, False

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        self.heard_at = self._clock()
        push = self.push
        if push is not None and self.is_between_chunks:
            try:
                goes_on = push(data)
            except Exception as error:  # noqa: BLE001 - the task's, whose step it is
                # Not kept in a name beyond this: it holds this frame.
                self.push = None
                self._finish(error)
                return
            if goes_on:
                return
            if goes_on is not None:
                self.push = None
                self._finish(None)
                return
        self._otherwise(data)

    def close(self) -> None:
        """Forget whom it told: they hold it."""
        self._otherwise, self._finish, self.push = _nothing, _nothing, None


def _nothing(_: object) -> None:
    """Take what comes after the end."""
