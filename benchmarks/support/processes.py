"""A process for the length of a benchmark."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping

from benchmarks.support.deployment import ROOT, end_group

LOOK_S = 0.05


@contextlib.contextmanager
def launched(
    command: list[str], env: Mapping[str, str], is_ready: Callable[[], bool], within_s: float = 60
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads a group, from ready to ended with its group.

    Raises TimeoutError where it ends before it is ready, or takes longer; its log is printed then.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True
        )
        try:
            _await(process, is_ready, within_s)
            yield process
        except TimeoutError:
            log.seek(0)
            print(log.read()[-4000:].decode(errors="replace"), file=sys.stderr)
            raise
        finally:
            end_group(process)


def _await(process: subprocess.Popen[bytes], is_ready: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and process.poll() is None:
        if is_ready():
            return
        time.sleep(LOOK_S)
    raise TimeoutError(f"{process.args!r} did not become ready")
