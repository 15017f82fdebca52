"""Ray's and our own models of Serve's configuration, imported only where a test needs them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="session")
def deploys() -> Callable[[dict[str, Any]], Any]:
    """Checks a Serve configuration as Ray does, and our arguments; returns Ray's model of it."""
    with warnings.catch_warnings():
        # Ray's own, at import.
        warnings.simplefilter("ignore", DeprecationWarning)
        from ray.serve.schema import ServeDeploySchema

        from serve_app.app import AppArgs

    def check(config: dict[str, Any]) -> Any:
        model = ServeDeploySchema.model_validate(config)
        for application in model.applications:
            AppArgs.model_validate(application.args)
        return model

    return check
