"""kill -9 of real processes: what had ended is in the store, once."""

import os
import signal
import subprocess
import sys

from serve_app.tenancy.usage_log import recover_dead
from tests.unit.serve_app.tenancy.usage_made import total

# So many ended requests after the start, each process is killed: amid writing, flushing,
# turning files and recovering its forerunner.
KILLED_AFTER = (1, 150, 1000, 2500)


def start(place):
    module = "tests.unit.serve_app.tenancy.usage_process"
    command = [sys.executable, "-m", module, str(place.path), place.config.model_dump_json()]
    return subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0)


def killed_after(process, requests) -> int:
    """Kill it once it has ended so many; returns how many it said it had."""
    said = 0
    while said < requests:
        part = os.read(process.stdout.fileno(), 65536)
        assert part, "the process ended by itself"
        said += len(part)
    process.send_signal(signal.SIGKILL)
    said += len(process.stdout.read())
    process.wait()
    process.stdout.close()
    return said


def test_requests_of_killed_processes_count_exactly(place, store):
    """At most the one request that was under way when its process was killed is not said."""
    said = 0
    for requests in KILLED_AFTER:
        said += killed_after(start(place), requests)

    logs = place.path.with_name("usage")
    for _ in range(2):
        recover_dead(store, logs)
    found = total(store)

    assert said <= found.requests <= said + len(KILLED_AFTER)
    assert found.completion == found.requests
    assert list(logs.iterdir()) == []
