"""An HTTP server inside one of Ray's processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import uvicorn


class ReplicaServer(uvicorn.Server):
    """Uvicorn's server, which leaves SIGTERM to Ray."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Catch none."""
        yield
