"""The files of the page, read once: bodies, content types, and addresses that never go stale."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

STATIC = Path(__file__).parent / "static"
PLACE = b"/console/static/"
"""Where the page's own links point; a version is put behind it."""

TYPES = {
    ".css": b"text/css; charset=utf-8",
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
    ".txt": b"text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is sent. `etag` changes with the body."""

    body: bytes
    kind: bytes
    etag: bytes


class Assets:
    """The files below a folder by their path in it, and the page itself.

    Modules import each other by relative addresses, so all of them are asked for below the
    version that the page names: `/console/static/VERSION/shell.js`. A file of another version
    is never mixed in, and what has a version may be kept for ever.
    """

    def __init__(self, folder: Path = STATIC) -> None:
        found = sorted(x for x in folder.rglob("*") if x.suffix in TYPES)
        bodies = {x.relative_to(folder).as_posix(): x.read_bytes() for x in found}
        digest = hashlib.sha256()
        for name, body in bodies.items():
            digest.update(name.encode() + b"\0" + body)
        self.version = digest.hexdigest()[:12]
        page = bodies.pop("index.html", b"")
        self.page = _asset("index.html", page.replace(PLACE, PLACE + self.version.encode() + b"/"))
        self._files = {name: _asset(name, body) for name, body in bodies.items()}

    def find(self, name: str) -> tuple[Asset | None, bool]:
        """Return the file of a name, with or without a version before it.

        The second: whether the version is this one, so that the answer may be kept for ever.
        """
        version, _, rest = name.partition("/")
        if version == self.version:
            return self._files.get(rest), True
        # A page of an older deployment asks for its own version's files: the newer ones are
        # better than none, until it is loaded anew.
        return self._files.get(name) or self._files.get(rest), False


def _asset(name: str, body: bytes) -> Asset:
    etag = b'"%s"' % hashlib.sha256(body).hexdigest()[:20].encode()
    return Asset(body, TYPES[Path(name).suffix], etag)


@functools.cache
def assets() -> Assets:
    """The page's files of this installation."""
    return Assets()
