"""The key-value store of Ray's control plane, where Serve keeps its own state.

Each call takes about a millisecond and blocks. Ray is imported by whoever calls.
"""

from __future__ import annotations

_NAMESPACE = b"pointsman"


def put(key: str, value: bytes) -> None:
    """Keep a value in the place of the one before."""
    from ray.experimental.internal_kv import _internal_kv_put

    _internal_kv_put(f"pointsman:{key}".encode(), value, namespace=_NAMESPACE)


def get(key: str) -> bytes | None:
    """Return a value; None: there is none."""
    from ray.experimental.internal_kv import _internal_kv_get

    found: bytes | None = _internal_kv_get(f"pointsman:{key}".encode(), namespace=_NAMESPACE)
    return found
