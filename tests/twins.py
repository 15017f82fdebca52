"""The twins of `classifier.native`: tests run with either, where the compiled one is built."""

from __future__ import annotations

import pytest

from classifier.native import BY_WISH, Choice, Native, choose


def twins(native: Native) -> dict[str, Choice]:
    """The two by name; without the compiled one where it is not built of this text."""
    found = {name: choose(native, name, native.built) for name in ("python", "auto")}
    return {choice.twin: choice for choice in found.values()}


def names(native: Native) -> list:
    """Of both, for `parametrize`."""
    is_missing = "native" not in twins(native)
    mark = pytest.mark.skipif(is_missing, reason=f"{native.module} is not built of this text")
    return ["python", pytest.param("native", marks=mark)]


PYTHON = Choice(None, BY_WISH)
