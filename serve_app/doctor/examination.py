"""Everything that the doctor looks at without a running deployment, put together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from serve_app.config.errors import ConfigError, load_yaml
from serve_app.config.fleet import FleetConfig
from serve_app.config.settings import fleet_path, load_fleet, state_dir
from serve_app.doctor.check import (
    Check,
    Finding,
    Section,
    Verdict,
    not_applicable,
)
from serve_app.doctor.files.configuration import ServeFile, file_checks
from serve_app.doctor.files.engine_args import engine_args
from serve_app.doctor.files.lane_flags import lane_flags, template_checks
from serve_app.doctor.fit.cards import SizedCard
from serve_app.doctor.fit.checks import fit_checks
from serve_app.doctor.machine.card_checks import CardChecks, cuda_of_build
from serve_app.doctor.machine.cards import CardReader, Cards
from serve_app.doctor.machine.host import clock, limits, ports, shared_memory, state_room
from serve_app.doctor.machine.hub import (
    ask_hub,
    cache_room,
    hub_access,
    hub_folder,
    to_download,
)
from serve_app.doctor.machine.packages import packages, pins, pump
from serve_app.engine.embedded_model import cache_dir
from serve_app.engine.host_cache import host_memory
from serve_app.machine.ports import AGENT, HAPROXY_METRICS, STATS, open_ports
from serve_app.machine.ray_files import run_dir


@dataclass(frozen=True, slots=True)
class Places:
    """What to look at: a fleet by name or path, the tenants file, Serve's own file.

    Attributes:
        card: that the lanes are meant for which name none; None: one of this machine's.

    """

    fleet: str
    tenants: Path
    serve_config: Path
    card: SizedCard | None = None


def examine(places: Places, reader: CardReader) -> Iterator[Finding]:
    """Run every check that needs no running deployment.

    Where the fleet file cannot be read, checks of its lanes say that they do not apply.
    """
    for check in file_checks(places.fleet, places.tenants, places.serve_config):
        yield check.run()
    try:
        fleet = load_fleet(fleet_path(places.fleet))
    except (ConfigError, OSError):
        fleet = None
    cards = reader.read()
    if fleet is None:
        yield _without_fleet(Section.FLEET)
    else:
        for check in fleet_checks(fleet, cards, places.card):
            yield check.run()
    for check in machine_checks(fleet, cards, places):
        yield check.run()


def _without_fleet(section: Section) -> Finding:
    return Check("lanes", section, lambda: not_applicable("the fleet file cannot be read")).run()


def fleet_checks(fleet: FleetConfig, cards: Cards, assumed: SizedCard | None = None) -> list[Check]:
    """Checks of lanes: their flags, their templates, their fit."""
    take_out = "take the named line out, or write a value that it names"
    return [
        Check("engine arguments", Section.FLEET, lambda: engine_args(fleet), take_out),
        Check("lane flags", Section.FLEET, lambda: lane_flags(fleet)),
        *template_checks(fleet),
        *fit_checks(fleet, cards.by_kind(), assumed),
    ]


def machine_checks(fleet: FleetConfig | None, cards: Cards, places: Places) -> list[Check]:
    """Checks of this machine; those of cards and downloads need a fleet."""

    def made(name: str, look: Callable[[], Verdict]) -> Check:
        return Check(name, Section.MACHINE, look)

    checks = [
        made("packages", lambda: packages(pins())),
        made("pump", pump),
        made("state folders", lambda: state_room((state_dir(), cache_dir(), run_dir()))),
        made("ports", lambda: ports(wanted_ports(places.serve_config), _held_by_us(), AGENT)),
        made("clock", lambda: clock((places.tenants, places.serve_config, *_written()))),
        made("open files", limits),
    ]
    if fleet is None:
        return checks
    return [
        *CardChecks(fleet, cards, cuda_of_build()).all(),
        made("hub access", lambda: _hub_access(fleet, cards)),
        made("model cache", lambda: _cache_room(fleet, cards)),
        made("shared memory", lambda: shared_memory(fleet, host_memory(), len(cards.cards))),
        *checks,
    ]


def _hub_access(fleet: FleetConfig, cards: Cards) -> Verdict:
    """Only where lanes are loaded: the host with the cards downloads."""
    if not cards.cards:
        return not_applicable(_NOTHING_LOADS)
    return hub_access(to_download(fleet), ask_hub)


def _cache_room(fleet: FleetConfig, cards: Cards) -> Verdict:
    if not cards.cards:
        return not_applicable(_NOTHING_LOADS)
    return cache_room(to_download(fleet).values(), hub_folder())


_NOTHING_LOADS = "this machine has no card, so nothing of the fleet's hub models is loaded here"


def wanted_ports(serve_config: Path) -> dict[int, str]:
    """Ports that a start on this machine listens on, and what each is for."""
    port = load_yaml(serve_config, ServeFile).http_options.port
    return {port: "the API", STATS: "HAProxy's statistics", HAPROXY_METRICS: "HAProxy's metrics"}


def _held_by_us() -> frozenset[int]:
    return frozenset(x.listener.port for x in open_ports(run_dir()))


def _written() -> list[Path]:
    """Files that a deployment writes while it runs."""
    names = ("serve.log", "tenancy.db", "feedback.db")
    return [path for name in names if os.access(path := state_dir() / name, os.R_OK)]
