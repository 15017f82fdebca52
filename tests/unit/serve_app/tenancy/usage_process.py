"""Another ingress replica: counts requests of one token without end, and says so after each.

Run as `python -m tests.unit.serve_app.tenancy.usage_process PATH`.
"""

import sys
from pathlib import Path

from router.limits.quota import EVEN_WEIGHTS
from serve_app.tenancy.meter import UsageMeter
from serve_app.tenancy.sqlite_store import SqliteStore
from serve_app.tenancy.store import Counts

if __name__ == "__main__":
    path = Path(sys.argv[1])
    meter = UsageMeter(
        SqliteStore(path), path.with_name("usage"), flush_s=0.002, max_file_bytes=4096
    )
    meter.start()
    while True:
        number = meter.begin("acme", "chat", EVEN_WEIGHTS, 1.0, lambda: (0, 0))
        meter.end(number, Counts(1, 0, 0, 1))
        sys.stdout.write(".")
        sys.stdout.flush()
