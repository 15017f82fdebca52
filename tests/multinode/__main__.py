"""A cluster of three nodes on one machine, of which one is lost while streams run.

    python -m tests.multinode [--results FILE]

As root, for the network namespaces. It is `docs/multi_node.md`'s measurement; the exit status
is 1 where a stream that could be resumed was not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.multinode.cluster import ROOT, Cluster
from tests.multinode.network import SWITCH, network
from tests.multinode.rounds import STREAMS, run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path)
    given = parser.parse_args()
    with network(3) as nodes, tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(nodes, Path(folder))
        process = None
        try:
            for node in nodes:
                cluster.start_ray(node)
                print(f"{node.name} {node.address}: Ray is up", flush=True)
            begun = time.monotonic()
            process = cluster.start_serving()
            print(f"serving after {time.monotonic() - begun:.0f} s", flush=True)
            enter(SWITCH)
            rounds = asyncio.run(run(cluster, cluster.new_key()))
            if given.results is not None:
                given.results.write_text(json.dumps(rounds, indent=1))
        except RuntimeError as error:
            print(f"{error}\n{cluster.log.read_text()[-3000:]}", file=sys.stderr)
            return 1
        finally:
            if process is not None:
                process.send_signal(signal.SIGINT)
                process.wait(60)
    # Whose frontend is lost cannot be resumed: their connection ended there.
    is_kept = all(x["failed"] == 0 for x in rounds if x["round"].startswith("lane"))
    is_back = all(x["whole_afterwards"] == STREAMS for x in rounds)
    return 0 if is_kept and is_back else 1


def enter(namespace: str) -> None:
    """Go on in a network namespace, where the nodes can be reached; what is started later, too."""
    import ctypes

    with Path(f"/run/netns/{namespace}").open() as opened:
        if ctypes.CDLL(None, use_errno=True).setns(opened.fileno(), 0x40000000):
            raise OSError(ctypes.get_errno(), f"{namespace} cannot be entered")


if __name__ == "__main__":
    os.chdir(ROOT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
