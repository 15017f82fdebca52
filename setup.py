"""Puts the files beside the packages into the wheel, and builds the pump.

The files stay where people look for them in a checkout. In an installed wheel
`simulator.home.shipped` finds their copy in `serve_app/shipped/`.

The pump (`serve_app/relay/pump`) is compiled where Cython and a C compiler are. Where they are not,
or POINTSMAN_PUMP=python, its twin in Python does the same: no installation fails for it.
"""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SHIPPED = ("serve_config.yaml", "configs", "deploy", "scripts/environment", "scripts/bin")
PUMP = ROOT / "serve_app/relay/pump/build.py"


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
    """Builds what can be built, and says in one line what became of it."""

    def run(self) -> None:
        if not self.extensions:
            return
        try:
            super().run()
        except Exception as error:  # noqa: BLE001 - the twin does the same
            _say(f"the one in Python, as the compiled one was not built ({_first_line(error)})")
        else:
            _say("compiled")


def _say(what: str) -> None:
    print(f"pump of streamed tokens: {what}", file=sys.stderr)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def pump() -> list[Extension]:
    """What to compile: one module, or nothing."""
    if os.environ.get("POINTSMAN_PUMP") == "python":
        _say("the one in Python, as POINTSMAN_PUMP=python")
        return []
    try:
        from Cython.Build import cythonize  # noqa: PLC0415 - it may be missing
    except ImportError:
        _say("the one in Python, as Cython is not installed")
        return []
    spec = importlib.util.spec_from_file_location("pump_build", PUMP)
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    extension = Extension(
        build.MODULE,
        [str(build.SOURCE.relative_to(ROOT))],
        define_macros=[("PUMP_SOURCE", f'"{build.digest()}"')],
        extra_compile_args=["-O2", "-g0"],
    )
    try:
        return cythonize([extension], build_dir="build/pump", quiet=True)
    except Exception as error:  # noqa: BLE001 - the twin does the same
        _say(f"the one in Python, as Cython failed ({_first_line(error)})")
        return []


setup(cmdclass={"build_py": BuildWithFiles, "build_ext": BuildOrSay}, ext_modules=pump())
