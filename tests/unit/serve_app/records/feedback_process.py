"""Another ingress replica: a process that writes batches of ten requests, and says so.

Run as `python -m tests.unit.serve_app.records.feedback_process PATH PREFIX BATCHES`.
"""

import sys
from pathlib import Path

from serve_app.config.records import FeedbackConfig
from serve_app.records.feedback_store import FeedbackStore
from tests.unit.serve_app.records.records import record

if __name__ == "__main__":
    path, prefix, batches = sys.argv[1:]
    store = FeedbackStore(Path(path), FeedbackConfig())
    for batch in range(int(batches)):
        store.write([record(f"{prefix}-{batch}-{number}") for number in range(10)])
        print(batch, flush=True)
