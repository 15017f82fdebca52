"""`http_options.host`: what cannot work is refused before it is tried."""

from __future__ import annotations

import pytest

from serve_app import app
from serve_app.config.addresses import frontend_host, refuse_unreachable
from serve_app.config.errors import ConfigError
from serve_app.doctor.check import Check, Result, Section
from serve_app.doctor.files.configuration import addresses

pytestmark = pytest.mark.security


@pytest.fixture(autouse=True)
def haproxy(monkeypatch):
    """As `.venv/bin/activate` has it."""
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "1")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", None])
def test_addresses_that_haproxy_can_reach_are_taken(host):
    """None: Serve does not run, so that nothing is known."""
    refuse_unreachable(host)


@pytest.mark.parametrize("host", ["::1", "::", "10.0.0.5", "fd00::1"])
def test_addresses_that_haproxy_cannot_reach_are_told(host):
    """It would start, and answer every request with a 503."""
    with pytest.raises(ConfigError, match=r"use 127\.0\.0\.1") as told:
        refuse_unreachable(host)

    assert f"'{host}'" in str(told.value)


def test_serve_s_own_proxy_reaches_any(monkeypatch):
    """Without HAProxy, requests go through Ray."""
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "0")

    refuse_unreachable("::1")


def test_without_serve_no_frontend_listens():
    """As in `pointsman doctor`, and in tests."""
    assert frontend_host() is None


def test_the_graph_is_not_built_for_such_a_frontend(monkeypatch):
    """The error is in `serve run`'s log before anything is loaded."""
    monkeypatch.setattr(app, "frontend_host", lambda: "::1")

    with pytest.raises(ConfigError, match=r"http_options\.host '::1'"):
        app.build({"fleet": "local"})


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("http_options: {host: 0.0.0.0, port: 80}\napplications: []\n", "0.0.0.0"),
        ("applications: []\n", "127.0.0.1"),
    ],
)
def test_doctor_says_where_it_will_listen(tmp_path, text, host):
    """From Serve's own file, most of which is none of its business."""
    path = tmp_path / "serve.yaml"
    path.write_text(text)

    assert addresses(path).detail.endswith(f"listens on {host}")


def test_doctor_says_no_to_ipv6(tmp_path):
    """As a finding, with what to do."""
    path = tmp_path / "serve.yaml"
    path.write_text("http_options: {host: '::1'}\n")

    found = Check("addresses", Section.FILES, lambda: addresses(path)).run()

    assert found.result is Result.FAILURE
    assert found.detail.startswith("http_options.host '::1'")
