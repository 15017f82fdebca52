"""Another ingress replica: counts requests of one token without end, and says so after each.

Run as `python -m tests.unit.serve_app.tenancy.usage_process PATH STORE`: the file store's
path, and the part `store` of a tenants file as JSON.
"""

import sys
from pathlib import Path

from router.limits.quota import EVEN_WEIGHTS
from serve_app.config.records import StoreConfig
from serve_app.tenancy.meter import UsageMeter
from serve_app.tenancy.store import Counts
from serve_app.tenancy.stores import open_store

if __name__ == "__main__":
    path = Path(sys.argv[1])
    store = open_store(StoreConfig.model_validate_json(sys.argv[2]), path)
    meter = UsageMeter(store, path.with_name("usage"), flush_s=0.002, max_file_bytes=4096)
    meter.start()
    while True:
        number = meter.begin("acme", "chat", EVEN_WEIGHTS, 1.0, lambda: (0, 0))
        meter.end(number, Counts(1, 0, 0, 1))
        sys.stdout.write(".")
        sys.stdout.flush()
