"""The operator's own redaction: a function that the fleet file names."""

from __future__ import annotations

from importlib import import_module

from evals.traces.redaction import Hook
from serve_app.config.errors import ConfigError


def load_hook(name: str | None) -> Hook | None:
    """Import `module:function`, and try it on a text; None: none is named.

    Raises:
        ConfigError: there is no such module or function, or it makes no text of a text.

    """
    if name is None:
        return None
    module, _, function = name.partition(":")
    try:
        found = getattr(import_module(module), function, None)
    except Exception as error:
        raise ConfigError(f"traces.redact: {module}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ConfigError(f"traces.redact: '{module}' has no function '{function}'")
    hook: Hook = found
    try:
        told = hook("text")
    except Exception as error:
        raise ConfigError(f"traces.redact: {name}: {type(error).__name__}: {error}") from error
    if not isinstance(told, str):
        raise ConfigError(f"traces.redact: {name}: returned {type(told).__name__}, not str")
    return hook
