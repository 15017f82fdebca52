"""Serving an application of Ray Serve from a process of its own, as a way in."""

from __future__ import annotations

import contextlib

from ray import serve
from ray.serve import Application
from ray.serve.config import HTTPOptions, ProxyLocation

# No access log, which Pointsman does not write either.
LOGGING = {"encoding": "TEXT", "log_level": "INFO", "enable_access_log": False}


def serve_until_interrupted(application: Application, name: str, host: str, port: int) -> None:
    """Start Ray and Serve here and serve one application at `/`."""
    serve.start(
        proxy_location=ProxyLocation.HeadOnly,
        http_options=HTTPOptions(host=host, port=port),
        logging_config=LOGGING,
    )
    with contextlib.suppress(KeyboardInterrupt):
        serve.run(application, blocking=True, name=name, logging_config=LOGGING)
