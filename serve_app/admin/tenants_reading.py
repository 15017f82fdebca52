"""The tenants file as it is now, parsed once for each state that it is in.

A file of thousands of tenants takes a second to parse, and pages ask every few seconds.
"""

from __future__ import annotations

import threading
from pathlib import Path

from serve_app.config.settings import load_tenants
from serve_app.config.tenants import TenantsConfig
from serve_app.tenancy.tenants_file import etag_of


class TenantsReading:
    """Reads the file at `path`. For threads: it blocks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._turn = threading.Lock()
        self._known: tuple[str, TenantsConfig] | None = None

    def read(self) -> tuple[str, TenantsConfig]:
        """Return the file's tag and what is in it. Raises ConfigError and OSError.

        The tag is taken first: of a file that changes in between it is the older one, with
        which nothing is set.
        """
        with self._turn:
            etag = etag_of(self.path)
            if self._known is None or self._known[0] != etag:
                self._known = etag, load_tenants(self.path)
            return self._known
