"""A stand-in for a lane replica: a heartbeat, an engine, the engine's worker, shared memory.

Run as a script by `test_heartbeat.py`. Prints one JSON line with what it started, then
sends heartbeats (`alive`), stands still after the first one (`still`), or sends none (`mute`).
"""

import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
from multiprocessing import shared_memory
from pathlib import Path

from serve_app.watchdog.heartbeat import Heartbeat


def engine(pipe) -> None:
    """An engine core: holds shared memory and a worker that nobody else knows of."""
    memory = shared_memory.SharedMemory(create=True, size=4096)
    worker = subprocess.Popen(["sleep", "600"])
    pipe.send((os.getpid(), worker.pid, memory.name))
    worker.wait()


async def live(heartbeat: Heartbeat) -> None:
    async def check() -> None:
        return

    await heartbeat.watch(check)


def main(how: str, silent_after_s: float) -> None:
    heartbeat = Heartbeat("test", silent_after_s)
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=engine, args=(theirs,))
    process.start()
    core, worker, memory = ours.recv()
    if how != "mute":
        heartbeat._send()
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    print(
        json.dumps(
            {"core": core, "worker": worker, "memory": memory, "children": list(map(int, children))}
        ),
        flush=True,
    )
    if how == "alive":
        asyncio.run(live(heartbeat))
    process.join()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
