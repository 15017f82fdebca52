"""The tool registry as one ingress replica knows it, kept fresh while it runs.

Files are how versions come in: one that has been at rest is published, once and for good.
From then on the store has its content, and a file that says something else is refused by
its digest, while what was published goes on serving. A version whose file is gone is
offered no more, unless the set's name stands for it or stood for it before.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serve_app.config.errors import ConfigError
from serve_app.config.files import Settling, Stamp, is_open_for_writing, is_young, stamp_of, wall_s
from serve_app.registry.files import key_of, read_file, tool_files
from serve_app.registry.store import FILE_NAME, Key, Stored, ToolStore
from serve_app.registry.tool_set import ToolSet, label, published
from serve_app.registry.tool_sets import ToolSets
from serve_app.transport.looking import look_until

logger = logging.getLogger("ray.serve")

WATCH_PERIOD_S = 0.5
"""After a promotion, in case the broadcast that tells of it does not arrive."""

MAX_FILES = 256
STORE_FAULTS = (sqlite3.Error, OSError, ValueError)


def open_tool_book(folder: Path, state: Path, settle_s: float) -> ToolBook:
    """The registry of a folder of files and a state directory, as it is now."""
    book = ToolBook(folder, ToolStore(state / FILE_NAME), settle_s)
    book.refresh()
    return book


class ToolBook:
    """Reads the folder and the store; `sets` is replaced as a whole.

    Args:
        folder: with a file for each version; None: there is no registry.
        store: shared with the other ingress replicas.
        settle_s: for how long a file must not have changed.

    Attributes:
        sets: what requests are answered with.
        refused: what the operator has to be told of files that are not served as they are.

    """

    def __init__(
        self,
        folder: Path | None = None,
        store: ToolStore | None = None,
        settle_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sets = ToolSets()
        self.refused: tuple[str, ...] = ()
        self._folder, self._store = folder, store
        self._settle_s, self._clock = settle_s, clock
        self._settling = Settling([])
        self._turn = threading.Lock()
        # By what the files' names say, and of those what could be read.
        self._present: set[Key] = set()
        self._files: dict[Key, ToolSet] = {}
        self._faults: list[str] = []
        # Of the folder as a whole.
        self._fault = ""
        self._built: dict[Key, ToolSet] = {}
        self._seen: tuple[int, int] | None = None

    @property
    def store(self) -> ToolStore | None:
        """Where promotions are kept; None: there is no registry."""
        return self._store

    def has_files(self, name: str) -> bool:
        """Return whether any version of a set has a file."""
        return any(known == name for known, _ in self._present)

    def refresh(self, *, at_once: bool = False) -> tuple[str, ...]:
        """Look at the files and the store; return what is refused.

        `at_once`: read files that have just changed, too, but none that somebody is writing.
        Nothing is raised: what was known before stays.
        """
        if self._folder is None or self._store is None:
            return ()
        with self._turn:
            try:
                self._refresh(self._folder, self._store, at_once=at_once)
            except STORE_FAULTS as error:
                self._fail(f"the tool registry's store cannot be read: {error}")
        return self.refused

    def told_with(self, outcome: dict[str, Any]) -> dict[str, Any]:
        """What a reload came to, with what is refused of tool sets."""
        if not self.refused:
            return outcome
        errors = [*filter(None, [outcome.get("error")]), *self.refused]
        return {**outcome, "ok": False, "error": "\n".join(errors)}

    def close(self) -> None:
        if self._store is not None:
            self._store.close()

    async def watch(self) -> None:
        if self._folder is not None:
            await look_until("tool registry", self._look_again, WATCH_PERIOD_S)

    def _look_again(self) -> None:
        self.refresh()

    def _refresh(self, folder: Path, store: ToolStore, *, at_once: bool) -> None:
        fault, self._fault = self._fault, ""
        try:
            files = tool_files(folder)
        except OSError as error:
            self._fault = f"{folder}: cannot be read: {error.strerror}"
            files = []
        if not files and not self._fault and self._seen is None and not store.path.exists():
            return
        self._restore(store)
        if self._fault:
            # It takes nothing away, whatever it held.
            is_new = self._keep_present(store) or self._fault != fault
        else:
            is_new = self._look(files, store, at_once=at_once) or fault != ""
        if is_new or store.revision() != self._seen:
            self._take(store)

    def _restore(self, store: ToolStore) -> None:
        """Put what is known into a store that lacks it: somebody has taken the file away."""
        seen, found = self._seen, store.revision()
        if seen is not None and (found[0] != seen[0] or found[1] < seen[1]):
            store.restore(self._built.values(), self.sets.promoted, at=datetime.now(UTC))
            logger.warning("tool registry: %s is another file than before", store.path)

    def _keep_present(self, store: ToolStore) -> bool:
        """Whether this is the first look, for which all that was published is there."""
        if self._seen is not None:
            return False
        self._present = set(store.read().versions)
        return True

    def _look(self, files: list[Path], store: ToolStore, *, at_once: bool) -> bool:
        """Read and publish what has changed; whether there was a reason to."""
        stamps = [_stamp(path) for path in files]
        is_due = self._settling.is_due(stamps, self._settle_s, self._clock())
        if not (at_once or is_due or self._seen is None):
            return False
        if self._read_files(files, at_once=at_once):
            self._settling.note_read(stamps)
        self._publish(store)
        return True

    def _read_files(self, files: list[Path], *, at_once: bool) -> bool:
        """Read what is at rest; whether that was all."""
        before, self._files = self._files, {}
        faults, is_whole = [], True
        if len(files) > MAX_FILES:
            faults.append(f"{self._folder}: has {len(files)} files, {MAX_FILES} at most are read")
        keys = [key_of(path) for path in files]
        # Also of those that are not read: they take nothing away.
        self._present = set(filter(None, keys))
        taken: dict[Key, Path] = {}
        for key, path in zip(keys[:MAX_FILES], files, strict=False):
            if key is not None and taken.setdefault(key, path) is not path:
                faults.append(f"{path}: {label(*key)} is {taken[key].name} already; remove one")
                continue
            if key is not None and self._is_moving(path, at_once=at_once):
                is_whole = False
                if key in before:
                    self._files[key] = before[key]
                continue
            try:
                one = read_file(path)
            except ConfigError as error:
                faults.append(str(error))
            else:
                self._files[one.name, one.version] = one
        self._faults = faults
        return is_whole

    def _is_moving(self, path: Path, *, at_once: bool) -> bool:
        if at_once:
            return is_open_for_writing(path)
        return is_young(path, self._settle_s, wall_s())

    def _publish(self, store: ToolStore) -> None:
        known = store.read()
        new = [
            one
            for key, one in self._files.items()
            if key not in known.versions or one.name not in known.promoted
        ]
        if new:
            store.publish(new, at=datetime.now(UTC))
            logger.info("tool registry: published %s", ", ".join(x.label for x in new))

    def _take(self, store: ToolStore) -> None:
        # First: what changes while it is read is seen by the next look.
        seen = store.revision()
        stored = store.read()
        offered = self._offered(stored)
        built, unread = {}, []
        for key in sorted(offered):
            try:
                built[key] = self._build(store, key, stored.versions[key])
            except ValueError:
                # By an older release, say: one version takes no other away.
                unread.append(f"{label(*key)}: what was published is none for this release")
        self._built = built
        versions: dict[str, dict[int, ToolSet]] = defaultdict(dict)
        for (name, version), one in self._built.items():
            versions[name][version] = one
        promoted = {name: x for name, x in stored.promoted.items() if name in versions}
        self.sets = ToolSets(dict(versions), promoted, stored.held)
        self._seen = seen
        faults = [*filter(None, [self._fault]), *self._faults, *unread]
        self._tell((*faults, *self._differences(stored), *self._orphans(stored)))

    def _offered(self, stored: Stored) -> set[Key]:
        # Also what cannot be read now: an edit takes nothing away.
        offered = {
            key for key in self._present if key in stored.versions and key[0] in stored.promoted
        }
        for name, promotion in stored.promoted.items():
            for version in (promotion.version, promotion.previous):
                if version is not None and (name, version) in stored.versions:
                    offered.add((name, version))
        return offered

    def _build(self, store: ToolStore, key: Key, digest: str) -> ToolSet:
        for known in (self._built.get(key), self._files.get(key)):
            if known is not None and known.digest == digest:
                return known
        return published(store.content(key))

    def _differences(self, stored: Stored) -> list[str]:
        return [
            f"{one.label}: the file says something else (sha256 {one.digest[:12]}) than what was "
            f"published (sha256 {stored.versions[key][:12]}), which goes on serving: a published "
            f"version never changes. Give the change the next version, and put the file back"
            for key, one in self._files.items()
            if stored.versions.get(key, one.digest) != one.digest
        ]

    def _orphans(self, stored: Stored) -> list[str]:
        return [
            f"{label(name, x.version)}: its file is gone, but '{name}' stands for it, so it is "
            f"served as it was published; 'pointsman tools retire {name}' ends that"
            for name, x in stored.promoted.items()
            if (name, x.version) not in self._present
        ]

    def _fail(self, told: str) -> None:
        if self._seen is None:
            self.sets = ToolSets(fault=told)
        self._tell((told,))

    def _tell(self, refused: tuple[str, ...]) -> None:
        for told in refused:
            if told not in self.refused:
                logger.warning("tool registry: %s", told)
        self.refused = refused


def _stamp(path: Path) -> Stamp:
    return zlib.crc32(path.name.encode("utf-8", "surrogateescape")), *stamp_of(path)
