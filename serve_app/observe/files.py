"""Every generated file, by its path below the checkout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from serve_app.config.fleet import FleetConfig
from serve_app.observe import grafana, prometheus
from serve_app.observe.limits import limits_of
from serve_app.observe.reference import reference_page
from serve_app.observe.table import DASHBOARDS, recording_rules

PROMETHEUS = Path("configs/prometheus")
GRAFANA = Path("configs/grafana")
RUNBOOKS = Path("docs/runbooks")
REFERENCE = Path("docs/metrics.md")


@dataclass(frozen=True)
class Wanted:
    """What the files are made for.

    Attributes:
        fleet: whose lanes give the limits.
        home: the folder that holds `docs/runbooks`.
        scrape: how Prometheus asks the deployment.
        runbooks: address of the runbooks' folder, for links in alerts.

    """

    fleet: FleetConfig
    home: Path
    scrape: prometheus.Scrape = field(default_factory=prometheus.Scrape)
    runbooks: str = str(RUNBOOKS)


def prometheus_files(wanted: Wanted) -> dict[Path, str]:
    """prometheus.yml and its rules."""
    rules = recording_rules(limits_of(wanted.fleet))
    return {
        PROMETHEUS / "prometheus.yml": prometheus.scrape_file(wanted.scrape),
        PROMETHEUS / "recording.yml": prometheus.recording_file(rules),
        PROMETHEUS / "alerts.yml": prometheus.alerts_file(wanted.runbooks),
    }


def grafana_files(home: Path) -> dict[Path, str]:
    """Dashboards and provisioning."""
    runbooks = home / RUNBOOKS
    names = [path.stem for path in grafana.runbooks_in(runbooks)]
    folder = GRAFANA / "dashboards"
    return {
        GRAFANA / "provisioning/datasources/prometheus.yml": grafana.datasources_file(),
        GRAFANA / "provisioning/dashboards/pointsman.yml": grafana.providers_file(),
        **{folder / f"{x.name}.json": grafana.dashboard_file(x, names) for x in DASHBOARDS},
        folder / "runbooks.json": grafana.runbooks_file(runbooks),
    }


def all_files(wanted: Wanted) -> dict[Path, str]:
    """What the repository keeps."""
    page = {REFERENCE: reference_page(wanted.fleet)}
    return {**prometheus_files(wanted), **grafana_files(wanted.home), **page}


def write(files: dict[Path, str], into: Path) -> list[Path]:
    """Write what is missing or differs, and return those paths."""
    changed = list(different(files, into))
    for path in changed:
        (into / path).parent.mkdir(parents=True, exist_ok=True)
        (into / path).write_text(files[path])
    return changed


def different(files: dict[Path, str], into: Path) -> Iterator[Path]:
    """Return the paths whose file is missing or says something else."""
    for path, text in files.items():
        if not (into / path).is_file() or (into / path).read_text() != text:
            yield path
