"""Reading weights, thresholds and tenants again without restarting anything."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from classifier import DEFAULT_ARTIFACT, Artifact, ArtifactError, Scorer, load_artifact
from classifier.artifact import FILE_NAME
from serve_app.config_errors import ConfigError
from serve_app.fleet_config import FleetConfig
from serve_app.policies import Policies, build_policies
from serve_app.settings import home, load_fleet, load_tenants
from serve_app.tenancy.keys import KeyBook
from serve_app.tenant_config import StoreConfig

logger = logging.getLogger("ray.serve")

WATCH_PERIOD_S = 1.0

FIXED = ("enabled_lanes", "ingress", "sessions", "ledger", "warm_up", "feedback", "request_log")
"""Parts of a fleet file that are built once, with a deployment."""

_REDEPLOY = (
    "for those change args.revision in serve_config.yaml and run 'serve deploy serve_config.yaml'"
)


def load_policies(fleet_file: Path, tenants_file: Path, book: KeyBook | None = None) -> Policies:
    """Read every file that the ingress decides by, or raise ConfigError."""
    fleet = load_fleet(fleet_file)
    given = fleet.routing.classifier
    artifact, scorer = _classifier(home() / given if given else DEFAULT_ARTIFACT)
    candidate = fleet.routing.shadow_classifier
    shadow = _classifier(home() / candidate)[1] if candidate else None
    tenants = load_tenants(tenants_file)
    return build_policies(fleet, tenants, scorer, artifact.threshold_for_share, shadow, book)


def _classifier(folder: Path) -> tuple[Artifact, Scorer]:
    """An artefact and its scorer; the same ones again while the folder is unchanged."""
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
    """Replaces the policies as one set, or keeps the old ones and says why."""

    def __init__(
        self,
        fleet_file: Path,
        tenants_file: Path,
        fleet: FleetConfig,
        apply: Callable[[Policies], None],
        book: KeyBook | None = None,
        store: StoreConfig | None = None,
    ) -> None:
        self._files = (fleet_file, tenants_file)
        self._store = store or StoreConfig()
        self._book = book or KeyBook()
        self._apply = apply
        self._stamps = self._read_stamps()
        self._fleet = fleet
        self.last_error = ""
        # The last to be read is the last to be applied.
        self._turn = asyncio.Lock()

    @property
    def store_error(self) -> str:
        """Why keys and revocations are not fresh; empty while they are."""
        return self._book.last_error

    async def reload(self) -> dict[str, Any]:
        """Read the files again. Requests under way keep what they began with.

        They are read on a thread: a large tenants file, or a new classifier, takes its time.
        Who asked may go meanwhile: what was begun is applied.
        """
        return await asyncio.shield(asyncio.ensure_future(self._in_turn()))

    async def _in_turn(self) -> dict[str, Any]:
        async with self._turn:
            return await self._reload()

    async def _reload(self) -> dict[str, Any]:
        self._stamps = self._read_stamps()
        try:
            policies = await asyncio.to_thread(self._load)
            self._refuse_redeploy(policies)
        except ConfigError as error:
            self.last_error = str(error)
            logger.warning("reload refused: %s", error)
            return {"ok": False, "error": str(error)}
        self._apply(policies)
        self._fleet = policies.fleet
        self.last_error = ""
        logger.info("reloaded %s and %s", *self._files)
        return {"ok": True}

    async def watch(self) -> None:
        """Reload when a file changes; runs until cancelled."""
        while True:
            await asyncio.sleep(WATCH_PERIOD_S)
            if self._read_stamps() != self._stamps:
                try:
                    await self.reload()
                except Exception:
                    # The watch must outlive whatever a file can hold.
                    logger.exception("reload failed")

    def _load(self) -> Policies:
        self._book.refresh()
        return load_policies(*self._files, self._book)

    def _refuse_redeploy(self, policies: Policies) -> None:
        """What is built once, with a deployment: that only `serve deploy` changes."""
        if policies.store != self._store:
            raise ConfigError(f"{self._files[1]}: store changed; {_REDEPLOY}")
        fleet = policies.fleet
        for name in FIXED:
            if getattr(fleet, name) != getattr(self._fleet, name):
                told = "lanes" if name == "enabled_lanes" else name
                raise ConfigError(f"{self._files[0]}: {told} changed; {_REDEPLOY}")

    def _read_stamps(self) -> list[tuple[int, int]]:
        stamps = []
        for path in self._files:
            try:
                stat = path.stat()
                stamps.append((stat.st_mtime_ns, stat.st_size))
            except OSError:
                stamps.append((0, 0))
        return stamps
