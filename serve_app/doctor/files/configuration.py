"""The files that a start reads, and the settings of the shell that it comes from."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from classifier import DEFAULT_ARTIFACT, ArtifactError, load_artifact
from serve_app.config.addresses import refuse_unreachable
from serve_app.config.errors import ConfigError, load_yaml
from serve_app.config.fleet import FleetConfig
from serve_app.config.lane import EMBEDDED
from serve_app.config.settings import (
    fleet_path,
    haproxy_is_on,
    home,
    load_fleet,
    load_tenants,
    tenancy_path,
    tools_folder,
)
from serve_app.doctor.check import Check, Section, Verdict, not_applicable, ok, warning
from serve_app.doctor.files.experiments import experiments
from serve_app.doctor.files.tiers import shared_lanes
from serve_app.engine.embedded_model import cache_dir, is_intact
from serve_app.registry.files import read_file, tool_files
from serve_app.routing.languages import languages_of
from serve_app.scoring.kinds import refuse_quick, refuse_slow
from serve_app.tenancy.stores import open_store
from serve_app.traces.hook import load_hook

AGAIN = "change the named line; the message says what is valid"
ACTIVATE = "source .venv/bin/activate"
BELOW = "\n      "


class _HttpOptions(BaseModel):
    """The part of Serve's own file that is looked at."""

    host: str = "127.0.0.1"
    port: int = 8000


class ServeFile(BaseModel):
    """Serve's own file, most of which is none of a check's business."""

    http_options: _HttpOptions = _HttpOptions()


def file_checks(fleet_name: str, tenants: Path, serve_config: Path) -> list[Check]:
    """Checks of every file, in the order in which a start reads them."""

    def made(name: str, examine: Callable[[], Verdict], fix: str = AGAIN) -> Check:
        return Check(name, Section.FILES, examine, fix)

    def of_fleet(examine: Callable[[FleetConfig], Verdict]) -> Callable[[], Verdict]:
        return lambda: examine(load_fleet(fleet_path(fleet_name)))

    return [
        made("fleet", lambda: _fleet(fleet_name)),
        made("tenants", lambda: _tenants(tenants)),
        made(
            "tiers' lanes",
            lambda: shared_lanes(load_fleet(fleet_path(fleet_name)), load_tenants(tenants)),
        ),
        made("tenancy store", lambda: _store(tenants), "restore it from a backup, or move it away"),
        made("tool sets", _tool_sets),
        made("roles", of_fleet(_roles)),
        made(
            "experiments",
            lambda: experiments(load_fleet(fleet_path(fleet_name)), load_tenants(tenants)),
        ),
        made("classifier", of_fleet(_classifiers), "routing.classifier: a folder with an artefact"),
        made("revisions", of_fleet(_revisions)),
        made("embedded model", of_fleet(_embedded), "delete that directory and start again"),
        made("settings", _settings, ACTIVATE),
        made("addresses", lambda: addresses(serve_config)),
    ]


def _fleet(name: str) -> Verdict:
    path = fleet_path(name)
    fleet = load_fleet(path)
    load_hook(fleet.traces.redact)
    told = f"{path}: lanes {', '.join(fleet.enabled_lanes)}"
    if fleet.outdated:
        return warning(BELOW.join([told, *fleet.outdated]), "write the new names")
    return ok(told)


def _tenants(path: Path) -> Verdict:
    config = load_tenants(path)
    keys = sum(len(tenant.keys) for tenant in config.tenants.values())
    return ok(f"{path}: {len(config.tenants)} tenants, {keys} keys")


def _tool_sets() -> Verdict:
    """Check every file; whether it is what was published, a running deployment says."""
    folder = tools_folder()
    found, faults = [], []
    for path in tool_files(folder):
        try:
            found.append(read_file(path).label)
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError(BELOW.join(faults))
    return ok(f"{folder}: {', '.join(found) or 'none'}")


def _store(path: Path) -> Verdict:
    """Check that the tenancy store can be read; the first start makes one that is missing."""
    tenants = load_tenants(path)
    found = tenancy_path(tenants)
    if tenants.store.postgres is None and not found.exists():
        return ok(f"{found}: not there yet; the first start makes it")
    store = open_store(tenants.store, found)
    try:
        keys = store.keys()
    except (sqlite3.Error, OSError, ValueError) as error:
        raise ConfigError(f"{store.place}: {error}; nothing starts with it") from error
    finally:
        store.close()
    return ok(f"{store.place}: {len(keys.keys)} keys, {len(keys.revoked)} revoked")


def _roles(fleet: FleetConfig) -> Verdict:
    """Warn of roles in `routing` that have no effect; check the languages' codes."""
    languages_of(code for codes in fleet.routing.languages.values() for code in codes)
    if fleet.idle_roles:
        return warning(BELOW.join(fleet.idle_roles), "switch the lane on, or leave the role out")
    return ok("every role's lane is on and can do what it is for")


def _classifiers(fleet: FleetConfig) -> Verdict:
    """Load those that the ingress loads, from the same places, and that of the service."""
    routing = fleet.routing
    for role in ("classifier", "shadow_classifier"):
        if (name := getattr(routing, role)) is not None:
            refuse_slow(home() / name, role)
    if fleet.classifier_service is not None:
        refuse_quick(fleet.classifier_service)
    named = [x for x in (routing.classifier, routing.shadow_classifier) if x]
    folders = [home() / x for x in named] or [DEFAULT_ARTIFACT]
    for folder in folders:
        try:
            load_artifact(folder)
        except (ArtifactError, OSError) as error:
            raise ConfigError(f"{folder}: {error}") from error
    return ok(", ".join(map(str, folders)))


def _revisions(fleet: FleetConfig) -> Verdict:
    """Warn of models of a hub without a revision: they start, but may change."""
    if fleet.unpinned:
        fix = "lanes.NAME.revision: the commit from the history on the model's page"
        return warning(BELOW.join(fleet.unpinned), fix)
    return ok("every model is a directory, embedded or of one revision")


def _embedded(fleet: FleetConfig) -> Verdict:
    if all(lane.model_source != EMBEDDED for lane in fleet.enabled_lanes.values()):
        return not_applicable("not used by this fleet")
    target = cache_dir() / "smollm2-135m-instruct-float32"
    if not target.exists():
        return ok(f"not prepared yet; the first start converts it into {target}")
    if not is_intact(target, verify=True):
        raise ConfigError(f"{target}: checksums differ; delete it and start again")
    return ok(f"{target}: checksums match")


def _settings() -> Verdict:
    if not haproxy_is_on():
        raise ConfigError("RAY_SERVE_ENABLE_HA_PROXY=1 is not set: source .venv/bin/activate")
    if os.environ.get("RAY_AUTH_MODE") != "token":
        raise ConfigError("RAY_AUTH_MODE=token is not set: source .venv/bin/activate")
    return ok("HAProxy mode and token authentication are on")


def addresses(path: Path) -> Verdict:
    """Check that the frontend listens where HAProxy can reach what is behind it."""
    host = load_yaml(path, ServeFile).http_options.host
    refuse_unreachable(host)
    return ok(f"{path}: listens on {host}")
