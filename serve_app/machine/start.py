"""Starts Pointsman in the foreground and says how far it is: the body of `make serve`.

    python -m serve_app.machine.start [CONFIG]

`serve run` does the work, in a process of its own whose output goes to a file. How far
it is, Serve's REST API says, and the log of each replica (its engine is loaded). On a
terminal the open stages are shown in place; elsewhere there are only plain lines.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import yaml

from serve_app.config.errors import ConfigError
from serve_app.config.private_files import private_folder
from serve_app.config.settings import state_dir
from serve_app.machine.failures.reader import read_failure
from serve_app.machine.processes import end, holder, leftovers
from serve_app.machine.ray_files import (
    forget_dead_ray,
    keep_token_private,
    refuse_long,
    refuse_shared,
    run_dir,
)
from serve_app.machine.screen import Screen
from serve_app.machine.serve_state import ServeState
from serve_app.machine.start_progress import Progress, StartFailed, cause_of, line

SERVE = Path(sys.executable).with_name("serve")
LOOK_S = 0.5
ENDS_WITHIN_S = 60.0
MAX_LOG_BYTES = 64 * 2**20
LOG_LOOK_S = 5.0
INTERRUPTED = 130
"""Exit status of a start that somebody ended, as shells have it."""

PR_SET_PDEATHSIG = 1

RAY_IS_UP = re.compile(r"Started a local Ray instance|Connected to Ray cluster")
BY_MAKE = "POINTSMAN_INSTALL_MS"
"""Environment variable: what `make serve` took for the dependencies, in milliseconds."""

EXAMPLE = """
Pointsman is ready at {url} after {seconds:.0f} s. Try:

  curl -N {url}/v1/chat/completions -H 'content-type: application/json' -d '{{
    "model": "auto", "stream": true, "max_tokens": 64,
    "messages": [{{"role": "user", "content": "What is the capital of France?"}}]}}'

Ctrl-C ends it. Its log is {log}"""


class Interrupted(Exception):
    """A signal ended the start, so there is no failure to report."""


def log_path() -> Path:
    """A new log; the one before it is kept beside it."""
    path = private_folder(state_dir()) / "serve.log"
    if path.exists():
        path.replace(path.with_name("serve.log.1"))
    path.touch(mode=0o600)
    return path


def bound(log: Path) -> None:
    """Begin a log that has got long anew, and keep what it was beside it.

    Its writers append, so that they go on at its new beginning.
    """
    if log.stat().st_size > MAX_LOG_BYTES:
        shutil.copy(log, log.with_name("serve.log.1"))
        os.truncate(log, 0)


class Start:
    """One start of a deployment; `log` gets what `serve run` and all that it starts print."""

    def __init__(
        self, config: str, url: str, log: Path, screen: Screen, serve: Path = SERVE
    ) -> None:
        self._command = [str(serve), "run", config]
        self._config = config
        self._url = url
        self._log = log
        self._screen = screen
        self._state = ServeState(url, log)
        waited = int(os.environ.get(BY_MAKE) or 0) / 1000
        self._begun = time.monotonic() - waited
        self._progress = Progress(self._begun)
        self._is_asked_to_end = False
        self._process: subprocess.Popen[bytes] | None = None
        screen.say(f"Starting Pointsman; the log is {log}")
        if waited:
            screen.say(line("dependencies", "", waited))

    def run(self) -> int:
        """Start, wait until it ends; the exit status for the shell."""
        try:
            self._prepare_model()
            process = self._run_serve()
            self._await_ready(process)
        except StartFailed as error:
            self._screen.say(
                f"Pointsman did not start: {error}", *self._reading(error), self._places()
            )
            self._stop()
            return 1
        except (Interrupted, KeyboardInterrupt):
            return INTERRUPTED
        return self._wait(process)

    def _prepare_model(self) -> None:
        """In a process of its own: a conversion imports what this one does without."""
        begun = time.monotonic()
        self._screen.show("model")
        command = [sys.executable, "-m", "serve_app.engine.embedded_model", self._config]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        self._log.write_text(done.stderr)
        if done.returncode:
            raise StartFailed(cause_of(done.stderr))
        self._screen.say(line("model", "", time.monotonic() - begun), *done.stdout.splitlines())

    def _run_serve(self) -> subprocess.Popen[bytes]:
        # `serve run` shuts everything down on SIGINT alone, which a shell without job
        # control makes its background jobs ignore; a second one would break that off.
        command = ["env", "--default-signal=INT,QUIT", *self._command]
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_end)
        with self._log.open("ab") as log:
            process = self._process = subprocess.Popen(  # noqa: S603
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                # Whoever signals, terminal, shell or supervisor: it hears it once, from here.
                process_group=0,
                umask=0o077,
                preexec_fn=_end_with_parent,  # noqa: PLW1509  # there are no threads
                # What several replicas say alike is said once otherwise, and late.
                env={**os.environ, "RAY_DEDUP_LOGS": "0"},
            )
        if self._is_asked_to_end:
            # While it was being made.
            self._interrupt()
        self._progress.begin("Ray", "", time.monotonic())
        return process

    def _on_end(self, number: int, frame: FrameType | None) -> None:
        """Interrupt `serve run` at the first signal; later ones would break its shutdown off."""
        del number, frame
        if not self._is_asked_to_end:
            self._is_asked_to_end = True
            self._interrupt()

    def _interrupt(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        while not self._state.is_ready():
            self._refuse_ended(process)
            now = time.monotonic()
            self._tell(now)
            self._screen.show(self._progress.running(now))
            time.sleep(LOOK_S)
        self._tell(time.monotonic())
        seconds = time.monotonic() - self._begun
        self._screen.say(EXAMPLE.format(url=self._url, seconds=seconds, log=self._log))

    def _tell(self, now: float) -> None:
        if not RAY_IS_UP.search(self._said()):
            # Until then another Ray may answer.
            return
        self._screen.say(*self._progress.end("Ray", "", now))
        self._screen.say(*self._progress.observe(self._state.look(), now))

    def _refuse_ended(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is not None:
            if self._is_asked_to_end:
                raise Interrupted
            raise StartFailed(cause_of(self._said()))

    def _places(self) -> str:
        """Name the logs to look at; Serve's are an earlier start's until Ray is up."""
        serve = f" and {self._state.logs}" if RAY_IS_UP.search(self._said()) else ""
        return f"Look at {self._log}{serve}"

    def _reading(self, error: StartFailed) -> list[str]:
        """What is known of such a failure, and what mends it."""
        return read_failure(f"{error}\n{self._said()}").told()

    def _said(self) -> str:
        return self._log.read_text(errors="replace")

    def _stop(self) -> None:
        if self._process is None:
            return
        if not self._is_asked_to_end:
            self._interrupt()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDS_WITHIN_S)

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        """Until `serve run` ends; 0 when it was asked to."""
        status = None
        while status is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = process.wait(LOG_LOOK_S)
            bound(self._log)
        if status:
            self._screen.say(f"Pointsman has ended ({status}). Look at {self._log}")
        return 1 if status else 0


def _end_with_parent() -> None:
    """In the new process: be interrupted when the one that shows it is killed outright."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def refuse_taken_port(url: str) -> None:
    """Raise StartFailed where somebody answers already, whose log stays where it is."""
    address = urlsplit(url)
    port = address.port or 80
    with contextlib.suppress(OSError):
        socket.create_connection((address.hostname or "127.0.0.1", port), 2).close()
        raise StartFailed(f"port {port} is taken by {holder(port)}: is Pointsman running already?")


def claim_machine() -> None:
    """Check that Ray's files are this user's alone, and end leftovers that hold our ports."""
    folder = run_dir()
    refuse_shared(folder)
    refuse_long(folder)
    forget_dead_ray(folder)
    keep_token_private()
    for leftover in leftovers(folder):
        end(leftover, ENDS_WITHIN_S)


def url_of(config: str) -> str:
    """Where a deployment of this configuration answers on this machine."""
    port = 8000
    # Serve itself reports what is wrong with the file.
    with contextlib.suppress(OSError, ValueError, yaml.YAMLError, LookupError, TypeError):
        given = yaml.safe_load(Path(config).read_text())["http_options"]["port"]
        port = given if isinstance(given, int) else port
    return f"http://127.0.0.1:{port}"


def main(arguments: list[str]) -> int:
    config = arguments[0] if arguments else "serve_config.yaml"
    screen = Screen()
    try:
        url = (os.environ.get("POINTSMAN_URL") or url_of(config)).rstrip("/")
        claim_machine()
        refuse_taken_port(url)
        log = log_path()
    except (StartFailed, ConfigError, OSError) as error:
        screen.say(f"Pointsman did not start: {error}")
        return 1
    return Start(config, url, log, screen).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
