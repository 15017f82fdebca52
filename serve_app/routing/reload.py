"""Reading weights, thresholds and tenants again without restarting anything."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from classifier import DEFAULT_ARTIFACT, Artifact, ArtifactError, Scorer, load_artifact
from classifier.artifact import FILE_NAME
from serve_app.config.errors import ConfigError
from serve_app.config.files import (
    Settling,
    Stamp,
    is_open_for_writing,
    is_young,
    stamps_of,
    wall_s,
)
from serve_app.config.fleet import FleetConfig
from serve_app.config.records import StoreConfig
from serve_app.config.settings import home, load_fleet, load_tenants, refuse_unknown_lanes
from serve_app.experiments.changes import ExperimentChanges
from serve_app.routing.policies import Policies, build_policies
from serve_app.scoring.kinds import refuse_slow
from serve_app.tenancy.auth import Authenticator
from serve_app.tenancy.keys import KeyBook
from serve_app.tenancy.removals import Removals
from serve_app.transport.looking import look_until

logger = logging.getLogger("ray.serve")

WATCH_PERIOD_S = 1.0
"""Of files at rest; what changes is looked at four times as often."""

FIXED = (
    "enabled_lanes",
    "pools",
    "ingress",
    "sessions",
    "ledger",
    "warm_up",
    "classifier_service",
    "feedback",
    "request_log",
    "traces",
    "tracing",
)
"""Parts of a fleet file that are built once, with a deployment."""

_TOLD = {"enabled_lanes": "lanes", "classifier_service": "routing.classifier_service"}

_REDEPLOY = (
    "for those change args.revision in serve_config.yaml and run 'serve deploy serve_config.yaml'"
)


def load_policies(fleet_file: Path, tenants_file: Path, book: KeyBook | None = None) -> Policies:
    """Read every file that the ingress decides by, or raise ConfigError."""
    fleet = load_fleet(fleet_file)
    given = fleet.routing.classifier
    artifact, scorer = _classifier(home() / given if given else DEFAULT_ARTIFACT, "classifier")
    candidate = fleet.routing.shadow_classifier
    shadow = _classifier(home() / candidate, "shadow_classifier")[1] if candidate else None
    tenants = load_tenants(tenants_file)
    refuse_unknown_lanes(tenants, fleet, tenants_file)
    return build_policies(fleet, tenants, scorer, artifact.threshold_for_share, shadow, book)


def _classifier(folder: Path, role: str) -> tuple[Artifact, Scorer]:
    """An artefact and its scorer; the same ones again while the folder is unchanged."""
    refuse_slow(folder, role)
    try:
        stamp = (folder / FILE_NAME).stat().st_mtime_ns
        return _load_classifier(folder, stamp)
    except (ArtifactError, OSError) as error:
        raise ConfigError(f"{folder}: {error}") from error


@lru_cache(maxsize=4)
def _load_classifier(folder: Path, stamp: int) -> tuple[Artifact, Scorer]:
    del stamp  # part of the cache's key
    artifact = load_artifact(folder)
    return artifact, artifact.scorer()


class Reloader:
    """Replaces the policies as one set, or keeps the old ones and says why.

    `auth` is of the policies in force: a reload that removes callers tells them there.
    `stamps` are the files' when they were read; by default as they are now.
    """

    def __init__(
        self,
        fleet_file: Path,
        tenants_file: Path,
        fleet: FleetConfig,
        apply: Callable[[Policies], None],
        book: KeyBook | None = None,
        store: StoreConfig | None = None,
        auth: Authenticator | None = None,
        stamps: list[Stamp] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = (fleet_file, tenants_file)
        self._store = store or StoreConfig()
        self._book = book or KeyBook()
        self._apply = apply
        self._settling = Settling(stamps or stamps_of(self._files))
        self._fleet = fleet
        self._auth = auth
        self._clock = clock
        self._removals = Removals()
        self._changes = ExperimentChanges()
        self._is_told = False
        self.last_error = ""
        # The last to be read is the last to be applied.
        self._turn = asyncio.Lock()

    @property
    def store_error(self) -> str:
        """Why keys and revocations are not fresh; empty while they are."""
        return self._book.last_error

    async def reload(self) -> dict[str, Any]:
        """Read the files again, now. Requests under way keep what they began with.

        They are read on a thread: a large tenants file, or a new classifier, takes its time.
        Who asked may go meanwhile: what was begun is applied.
        """
        return await asyncio.shield(asyncio.ensure_future(self._at_once()))

    async def _at_once(self) -> dict[str, Any]:
        async with self._turn:
            young = await asyncio.to_thread(self._young)
            seen = await self._look()
            found = await asyncio.to_thread(self._try_load)
            # The state before it was read: whatever came after it is seen by the next look.
            self._settling.note_read(seen)
            return self._judge(found, young)

    async def watch(self) -> None:
        while True:
            if self._settling.changing_s(self._clock()) is None:
                await look_until("reload", self._has_changed, WATCH_PERIOD_S)
            else:
                await asyncio.sleep(WATCH_PERIOD_S / 4)
            try:
                await self.look()
            except Exception:
                # The watch must outlive whatever a change does.
                logger.exception("reload failed")

    async def look(self) -> None:
        """One look at the files; what is still being written is not read."""
        async with self._turn:
            seen, now = await self._look(), self._clock()
            if self._settling.is_due(seen, self._fleet.reload.settle_s, now):
                await self._read_at_rest(seen)
            self._log_unrest()

    async def _read_at_rest(self, seen: list[Stamp]) -> None:
        if await asyncio.to_thread(self._is_written):
            return
        found = await asyncio.to_thread(self._try_load)
        # What changed while it was read was not at rest.
        if await self._look() == seen:
            self._settling.note_read(seen)
            self._judge(found)

    async def _look(self) -> list[Stamp]:
        return await asyncio.to_thread(stamps_of, self._files)

    def _judge(self, found: Policies | ConfigError, told: Sequence[str] = ()) -> dict[str, Any]:
        if isinstance(found, ConfigError):
            self.last_error = str(found)
            logger.warning("reload refused: %s", found)
            return {"ok": False, "error": str(found)}
        lasting = [*self._outdated(found.fleet), *self._removed_by(found)]
        lasting += self._of_experiments(found)
        self._apply(found)
        self._fleet, self._auth = found.fleet, found.auth
        self.last_error = ""
        logger.info("reloaded %s and %s", *self._files)
        for sentence in lasting:
            logger.warning("%s", sentence)
        warnings = [*told, *lasting]
        return {"ok": True, "warnings": warnings} if warnings else {"ok": True}

    def _outdated(self, fleet: FleetConfig) -> list[str]:
        return [f"{self._files[0]}: {sentence}" for sentence in fleet.outdated]

    def _of_experiments(self, found: Policies) -> list[str]:
        changed = self._changes.note(self._fleet, found.fleet, datetime.now(UTC))
        return [*(f"{self._files[0]}: {x}" for x in changed), *found.idle_tiers]

    def _removed_by(self, found: Policies) -> list[str]:
        if self._auth is None:
            return []
        removed = self._removals.note(self._auth, found.auth, datetime.now(UTC))
        return [f"{self._files[1]}: {sentence}" for sentence in removed]

    # -- what is told ---------------------------------------------------------

    def status(self) -> dict[str, Any]:
        changing_s = self._settling.changing_s(self._clock())
        return {
            "error": self.last_error,
            "changing_s": None if changing_s is None else round(changing_s, 1),
            "warnings": self.warnings(),
        }

    def warnings(self) -> list[str]:
        """For the operator: changes that do not come to rest, and what a reload took from whom."""
        now = datetime.now(UTC)
        removed = self._removals.told(now)
        told = self._outdated(self._fleet)
        told += [f"{self._files[0]}: {sentence}" for sentence in self._changes.told(now)]
        told += [f"{self._files[1]}: {sentence}" for sentence in removed]
        unrest = self._unrest()
        return [unrest, *told] if unrest else told

    def _unrest(self) -> str:
        """What to tell of files that do not come to rest; empty while there is nothing."""
        changing_s, settle_s = self._settling.changing_s(self._clock()), self._fleet.reload.settle_s
        if changing_s is None or changing_s <= 5 * settle_s:
            return ""
        return (
            f"{self._files[0]} or {self._files[1]} has been changing, or open for writing, for "
            f"{changing_s:.0f} s: it is applied when it has been at rest for "
            f"{settle_s:g} s, or at once by 'pointsman reload'"
        )

    def _log_unrest(self) -> None:
        """Tell of each change once."""
        unrest = self._unrest()
        if unrest and not self._is_told:
            logger.warning("%s", unrest)
        self._is_told = bool(unrest)

    # -- on a thread ----------------------------------------------------------

    def _has_changed(self) -> bool:
        return self._settling.is_news(stamps_of(self._files))

    def _is_written(self) -> bool:
        return any(map(is_open_for_writing, self._files))

    def _young(self) -> list[str]:
        """What is read though it may not be whole."""
        settle_s, now = self._fleet.reload.settle_s, wall_s()
        return [
            f"{path}: changed less than {settle_s:g} s ago, or is open for writing; read as it "
            "is, and again should it change"
            for path in self._files
            if is_young(path, settle_s, now)
        ]

    def _try_load(self) -> Policies | ConfigError:
        try:
            found = self.load()
            self._refuse_redeploy(found)
        except ConfigError as error:
            return error
        except Exception as error:
            # Whatever a file can hold: it is refused, once.
            logger.exception("reload failed")
            return ConfigError(f"{type(error).__name__}; the log of this ingress replica has more")
        return found

    def load(self) -> Policies:
        """Read the store of keys and the files. Raises ConfigError."""
        self._book.refresh()
        return load_policies(*self._files, self._book)

    def _refuse_redeploy(self, policies: Policies) -> None:
        """What is built once, with a deployment: that only `serve deploy` changes."""
        if policies.store != self._store:
            raise ConfigError(f"{self._files[1]}: store changed; {_REDEPLOY}")
        fleet = policies.fleet
        for name in FIXED:
            if getattr(fleet, name) != getattr(self._fleet, name):
                told = _TOLD.get(name, name)
                raise ConfigError(f"{self._files[0]}: {told} changed; {_REDEPLOY}")
