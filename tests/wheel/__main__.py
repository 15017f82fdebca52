"""From nothing to an answer, as a user has it who never saw a checkout.

    python -m tests.wheel [--environment DIR]

Builds the wheel, makes a virtual environment with the locked CPU build, installs the wheel
there, copies the configuration out of it (`pointsman init`), starts (`pointsman serve`) and asks
once with the stock OpenAI SDK. It needs port 8000 and, without `--environment`, five minutes and
5 GB for the installation; an environment that has the locked packages is used again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READY_S = 600.0
ASK = """
import openai
with openai.OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="none") as client:
    stream = client.chat.completions.create(
        model="auto", stream=True, max_tokens=24,
        messages=[{"role": "user", "content": "What is the capital of France?"}])
    said = [part.choices[0].delta.content or "" for part in stream if part.choices]
    print("".join(said))
    assert "".join(said).strip()
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environment", type=Path, help="where the locked packages are, or go")
    given = parser.parse_args().environment
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        environment = given or folder / "environment"
        python = environment / "bin" / "python"
        install_locked(environment)
        pip(python, "install", "--no-deps", "--force-reinstall", built_wheel(folder))
        told = subprocess.run(
            [python, "-P", "-c", "import serve_app; print(serve_app.__file__)"],
            cwd=folder,
            env=clean_environment(folder),
            capture_output=True,
            text=True,
            check=True,
        )
        print("the product is", told.stdout.strip())
        return served(environment, folder)


def install_locked(environment: Path) -> None:
    if (environment / "bin" / "ray").exists():
        return
    venv.create(environment, with_pip=True)
    for lock in ("torch-cpu", "cpu"):
        pip(
            environment / "bin" / "python",
            *("install", "--no-deps", "--require-hashes", "-r", ROOT / f"requirements/{lock}.txt"),
        )


def built_wheel(folder: Path) -> Path:
    pip(sys.executable, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT)
    (wheel,) = folder.glob("pointsman-*.whl")
    print(f"{wheel.name}: {wheel.stat().st_size / 2**20:.1f} MiB")
    return wheel


def pip(python: Path | str, *arguments: str | Path) -> None:
    subprocess.run([python, "-m", "pip", "--quiet", *arguments], check=True, cwd="/")


def clean_environment(folder: Path) -> dict[str, str]:
    """Nothing of the checkout, and a home of its own: no cache, no token, no state."""
    home = folder / "home"
    home.mkdir(exist_ok=True, mode=0o700)
    return {"PATH": "/usr/bin:/bin", "HOME": str(home), "POINTSMAN_RUN": f"{folder}/r"}


def served(environment: Path, folder: Path) -> int:
    pointsman = environment / "bin" / "pointsman"
    variables = clean_environment(folder)
    mine = folder / "mine"
    subprocess.run([pointsman, "init", mine], check=True, env=variables, cwd=folder)
    process = subprocess.Popen([pointsman, "serve"], cwd=mine, env=variables)
    try:
        await_ready(process)
        subprocess.run([environment / "bin" / "python", "-c", ASK], check=True, env=variables)
        subprocess.run([pointsman, "status"], check=True, env=variables, cwd=mine)
        subprocess.run(
            [pointsman, "run", "serve", "status"], check=True, env=variables, stdout=sys.stderr
        )
    finally:
        process.send_signal(signal.SIGINT)
        status = process.wait(120)
    print(f"ended with {status}")
    return status


def await_ready(process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"it ended with {process.returncode}")
        with contextlib.suppress(OSError):
            urllib.request.urlopen("http://127.0.0.1:8000/ready", timeout=5).close()
            return
        time.sleep(1)
    raise SystemExit(f"not ready within {READY_S:.0f} s")


if __name__ == "__main__":
    # An interrupt reaches what is started here also where a shell started this in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.umask(0o077)
    sys.exit(main())
