"""Puts the files beside the packages into the wheel, and builds the compiled twins.

The files stay where people look for them in a checkout. In an installed wheel
`simulator.home.shipped` finds their copy in `serve_app/shipped/`.

Those of `classifier/native.py` are compiled where Cython and a C compiler are. Where they are not,
or POINTSMAN_PUMP=python, their twins in Python do the same: no installation fails for one.
"""

import os
import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SHIPPED = ("serve_config.yaml", "configs", "deploy", "scripts/environment", "scripts/bin")
# What builds a wheel need not have it on its path.
sys.path.insert(0, str(ROOT))
from classifier.native import BY_WISH, NATIVES, SWITCH, Native  # noqa: E402


class BuildWithFiles(build_py):
    """Copies the files beside the packages to where the wheel is put together."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "serve_app" / "shipped"
        shutil.rmtree(target, ignore_errors=True)
        for name in SHIPPED:
            source, copy = ROOT / name, target / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy)


class BuildOrSay(build_ext):
    """Builds what can be built, and says in one line each what became of it."""

    def run(self) -> None:
        if not self.extensions:
            return
        self.became = {extension.name: "compiled" for extension in self.extensions}
        try:
            super().run()
        except Exception as error:  # noqa: BLE001 - the twins do the same
            self.became = dict.fromkeys(self.became, _not_built(error))
        for native in NATIVES:
            if native.module in self.became:
                _say(native, self.became[native.module])

    def build_extension(self, ext: Extension) -> None:
        # What was built of another text must not be taken for this one.
        Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)
        try:
            super().build_extension(ext)
        except Exception as error:  # noqa: BLE001
            self.became[ext.name] = _not_built(error)


def _not_built(error: Exception) -> str:
    return f"the one in Python, as the compiled one was not built ({_first_line(error)})"


def _say(native: Native, what: str) -> None:
    print(f"{native.what}: {what}", file=sys.stderr)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def natives() -> list[Extension]:
    """What to compile."""
    return [extension for native in NATIVES for extension in _extensions(native)]


def _extensions(native: Native) -> list[Extension]:
    """The extension of one module, or none."""
    if os.environ.get(SWITCH) == "python":
        _say(native, f"the one in Python, as {BY_WISH}")
        return []
    try:
        from Cython.Build import cythonize  # noqa: PLC0415 - it may be missing
    except ImportError:
        _say(native, "the one in Python, as Cython is not installed")
        return []
    extension = Extension(
        native.module,
        [str(native.source.relative_to(ROOT))],
        define_macros=[("NATIVE_SOURCE", f'"{native.digest()}"')],
        # Without products and sums in one instruction: sums are the same to the bit as Python's.
        extra_compile_args=["-O2", "-g0", "-ffp-contract=off"],
        optional=True,
    )
    try:
        return cythonize([extension], build_dir="build/native", quiet=True)
    except Exception as error:  # noqa: BLE001 - the twin does the same
        _say(native, f"the one in Python, as Cython failed ({_first_line(error)})")
        return []


setup(cmdclass={"build_py": BuildWithFiles, "build_ext": BuildOrSay}, ext_modules=natives())
