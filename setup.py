"""Puts the files beside the packages into the wheel; the rest is in pyproject.toml.

They stay where people look for them in a checkout. In an installed wheel `simulator.home.shipped`
finds their copy in `serve_app/shipped/`.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
SHIPPED = ("serve_config.yaml", "configs", "deploy", "scripts/environment", "scripts/bin")


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


setup(cmdclass={"build_py": BuildWithFiles})
