"""Numbers of examples that follow `--hypothesis-profile`."""

from typing import Any

from hypothesis import settings

USUAL = 100
"""Examples of a test that does not say how many."""


def examples(usual: int, **more: Any) -> settings:
    """Return settings with `usual` examples: in the soak profile more, in the quick one fewer."""
    assert settings.default is not None
    return settings(max_examples=max(1, usual * settings.default.max_examples // USUAL), **more)
