"""Where Serve's frontend listens, and where it can."""

from __future__ import annotations

from dataclasses import dataclass

import ray

from serve_app.config.errors import ConfigError
from serve_app.config.settings import haproxy_is_on

REACHED = ("127.0.0.1", "localhost", "0.0.0.0")  # noqa: S104
"""Ingress replicas listen where the frontend does, and Ray's HAProxy looks for those of its
own node at 127.0.0.1, whatever `http_options.host` says."""


@dataclass(frozen=True, slots=True)
class Frontend:
    """Where Serve's frontend listens, and how long it keeps a connection between two requests."""

    host: str
    port: int
    keep_alive_s: float


def frontend() -> Frontend | None:
    """Where Serve's frontend really listens; None: no Serve is running.

    Serve takes `http_options` once, when it starts; a later file may say otherwise.
    """
    from ray.serve.context import _get_global_client

    if not ray.is_initialized():
        return None
    client = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        return None
    told = client.http_config
    return Frontend(str(told.host), int(told.port), float(told.keep_alive_timeout_s))


def frontend_host() -> str | None:
    """Where Serve's frontend listens; None: no Serve is running."""
    found = frontend()
    return found.host if found is not None else None


def refuse_unreachable(host: str | None) -> None:
    """Raise ConfigError where HAProxy would answer every request with a 503."""
    if host is None or host in REACHED or not haproxy_is_on():
        return
    raise ConfigError(
        f"http_options.host '{host}': HAProxy could not reach the ingress replicas, which would "
        f"listen there too (IPv6 and single addresses are not served): use {REACHED[0]}, or "
        f"{REACHED[-1]} with keys and a firewall (docs/ports.md)"
    )
