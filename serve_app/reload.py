"""Reading weights, thresholds and tenants again without restarting anything."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from classifier import DEFAULT_ARTIFACT, ArtifactError, load_artifact
from serve_app.config_errors import ConfigError
from serve_app.fleet_config import FleetConfig
from serve_app.settings import home, load_fleet, load_tenants
from serve_app.state import Policies, build_policies

logger = logging.getLogger("ray.serve")

WATCH_PERIOD_S = 1.0


def load_policies(fleet_file: Path, tenants_file: Path) -> Policies:
    """Read every file that the ingress decides by, or raise ConfigError."""
    fleet = load_fleet(fleet_file)
    artifact_dir = _artifact_dir(fleet)
    try:
        artifact = load_artifact(artifact_dir)
    except (ArtifactError, OSError) as error:
        raise ConfigError(f"{artifact_dir}: {error}") from error
    given = fleet.routing.escalation_threshold
    share = fleet.routing.escalation_share
    threshold = artifact.threshold_for_share(share) if given is None else given
    return build_policies(fleet, load_tenants(tenants_file), artifact.scorer(), threshold)


def _artifact_dir(fleet: FleetConfig) -> Path:
    given = fleet.routing.classifier
    return home() / given if given else DEFAULT_ARTIFACT


class Reloader:
    """Replaces the policies as one set, or keeps the old ones and says why."""

    def __init__(
        self,
        fleet_file: Path,
        tenants_file: Path,
        fleet: FleetConfig,
        apply: Callable[[Policies], None],
    ) -> None:
        self._files = (fleet_file, tenants_file)
        self._apply = apply
        self._stamps = self._read_stamps()
        self._fleet = fleet
        self.last_error = ""

    def reload(self) -> dict[str, Any]:
        """Read the files again. Requests under way keep what they began with."""
        self._stamps = self._read_stamps()
        try:
            policies = load_policies(*self._files)
            self._refuse_redeploy(policies.fleet)
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
                    self.reload()
                except Exception:
                    # The watch must outlive whatever a file can hold.
                    logger.exception("reload failed")

    def _refuse_redeploy(self, fleet: FleetConfig) -> None:
        """Lanes and ingress replicas are deployments: those only `serve deploy` changes."""
        before = self._fleet
        if (fleet.enabled_lanes, fleet.ingress, fleet.sessions) != (
            before.enabled_lanes,
            before.ingress,
            before.sessions,
        ):
            raise ConfigError(
                f"{self._files[0]}: lanes, ingress or sessions changed; for those change "
                "args.revision in serve_config.yaml and run 'serve deploy serve_config.yaml'"
            )

    def _read_stamps(self) -> list[tuple[int, int]]:
        stamps = []
        for path in self._files:
            try:
                stat = path.stat()
                stamps.append((stat.st_mtime_ns, stat.st_size))
            except OSError:
                stamps.append((0, 0))
        return stamps
