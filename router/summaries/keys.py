"""What a summary is known by: digests of what it stands for, so that it is made once.

A result's key is its text's, with the limit that it was over. The key of old turns is a
chain: each place where the cut of a conversation has stood has a key, made of the key before
it and the turns between the two. So the same conversation has the same keys in each of its
requests and on every ingress replica, and a summary of more turns can begin with that of
fewer. Keys are looked up within one tenant only (`router.summaries.book`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

KEY_BYTES = 16

Key = bytes


def result_key(text: str, max_bytes: int) -> Key:
    """The key of a tool result that is longer than `max_bytes` UTF-8 bytes."""
    return _digest(b"result", b"%d" % max_bytes, text.encode("utf-8", "surrogatepass"))


def chain_keys(said: Iterable[str], cuts: Sequence[int]) -> list[Key]:
    """The key of the turns before each cut of a conversation.

    Args:
        said: the text of each message or item, from the first on; at least as many as the
            last cut says.
        cuts: rising indexes.

    """
    keys: list[Key] = []
    texts = iter(said)
    last, begin = b"", 0
    for cut in cuts:
        state = blake2b(b"turns\0" + last, digest_size=KEY_BYTES)
        for _ in range(begin, cut):
            raw = next(texts).encode("utf-8", "surrogatepass")
            # With its length: texts that are divided otherwise are other turns.
            state.update(b"%d:" % len(raw))
            state.update(raw)
        last, begin = state.digest(), cut
        keys.append(last)
    return keys


def verdict_key(session: str, key: Key) -> Key:
    """Under which it is kept whether one session has a summary, or does without it."""
    return _digest(b"verdict", session.encode("utf-8", "surrogatepass"), key)


def _digest(*parts: bytes) -> Key:
    return blake2b(b"\0".join(parts), digest_size=KEY_BYTES).digest()
