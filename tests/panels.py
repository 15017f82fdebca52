"""Every query of the panels and every recorded series, asked of a real Prometheus."""

import contextlib
import math
import os
import shutil
import socket
import time
from dataclasses import dataclass

import httpx
import pytest

from serve_app.observe.files import Wanted
from serve_app.observe.limits import limits_of
from serve_app.observe.prometheus import Scrape
from serve_app.observe.running import Ports, processes
from serve_app.observe.table import DASHBOARDS, Needs, recording_rules

PATIENCE_S = 90.0
EVERY = "1s"


def program(name):
    """Its path; without it a test fails where it must not be left out, and is skipped elsewhere."""
    found = shutil.which(name)
    if found is None:
        told = f"'{name}' is not installed: scripts/install-observe"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)
    return found


@dataclass(frozen=True)
class Asked:
    """One query: where it stands, and what has to be there for it to have data."""

    place: str
    expr: str
    needs: Needs


def asked_of(fleet):
    """All of them, the variables of dashboards set to everything."""
    values = {"$lane": ".*", "$tenant": ".*", "$__rate_interval": "15s"}
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels:
            for query in panel.queries:
                expr = query.expr
                for name, value in values.items():
                    expr = expr.replace(name, value)
                yield Asked(f"{dashboard.name}: {panel.title}", expr, panel.needs)
    for rules in recording_rules(limits_of(fleet)).values():
        for rule in rules:
            yield Asked(rule.name, rule.name, rule.needs)


@contextlib.contextmanager
def prometheus(fleet, home, target, folder, key_file=None):
    """One that scrapes the target; yields a client of it."""
    program("prometheus")
    wanted = Wanted(fleet, home, Scrape(target, EVERY, key_file))
    ports = Ports(prometheus=free_port(), grafana=free_port())
    url = f"http://127.0.0.1:{ports.prometheus}"
    with processes(wanted, folder, ports), httpx.Client(base_url=url, timeout=30) as client:
        await_ready(client)
        yield client


def await_ready(client):
    """Until then it does not listen, or says 503."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(httpx.TransportError):
            if client.get("/-/ready").is_success:
                return
        assert time.monotonic() < deadline, "Prometheus does not start"
        time.sleep(0.1)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def has_data(client, expr):
    """Whether the query has an answer with a number in it; fails for one that is no query."""
    answer = client.post("/api/v1/query", data={"query": expr}).json()
    assert answer["status"] == "success", f"{expr}: {answer.get('error')}"
    return any(not math.isnan(float(x["value"][1])) for x in answer["data"]["result"])


def without_data(client, asked, within_s=PATIENCE_S):
    """Which queries have had no data until then; each is asked until it has."""
    deadline, left = time.monotonic() + within_s, list(asked)
    while left and time.monotonic() < deadline:
        left = [x for x in left if not has_data(client, x.expr)]
        if left:
            time.sleep(0.5)
    return [f"{x.place}: {x.expr}" for x in left]
