"""The draws by which requests near a threshold are explored (`router.routing.exploration`)."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

DRAW_BYTES = 8


def draws_of(session: str, users: Sequence[str], first: int) -> list[float]:
    """Return a draw in [0, 1) for each user turn from the one at `first` on.

    It is made from the conversation and the turn, so that a turn that is sent again, to whichever
    ingress replica, has the same one. A conversation without an id is known by its opening: those
    that begin alike are drawn alike, and are one cluster to who estimates from them.
    """
    return [_draw(f"{session}\0{first + n}\0{text}") for n, text in enumerate(users[first:])]


def _draw(text: str) -> float:
    digest = blake2b(
        text.encode("utf-8", "surrogatepass"), digest_size=DRAW_BYTES, person=b"pm-exploration"
    )
    # 53 bits, so that no draw is rounded up to 1.
    return (int.from_bytes(digest.digest(), "big") >> 11) / (1 << 53)
