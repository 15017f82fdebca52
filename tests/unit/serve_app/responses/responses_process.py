"""Another ingress replica: stores conversations of two responses each, and says so.

Run as `python -m tests.unit.serve_app.responses.responses_process PATH PREFIX COUNT MOST`.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

from serve_app.config.records import ResponsesConfig
from serve_app.responses.rows import Content, NewResponse, Outcome
from serve_app.responses.store import ResponseStore


def main(path: str, prefix: str, count: int, most: int) -> None:
    store, bounds = ResponseStore(Path(path)), ResponsesConfig(max_responses=most)
    for number in range(count):
        now = datetime.now(UTC).timestamp()
        previous = f"{prefix}-{number - 1}" if number % 2 else None
        content = Content(b"{}", b'["%d"]' % number, b"[]")
        new = NewResponse("acme", f"{prefix}-{number}", previous, content)
        done = store.put(new, bounds, now=now)
        assert done.outcome is Outcome.STORED, done
        # At once, as a client would that asks another replica.
        found = store.conversation("acme", new.id, now=now, most_bytes=1000)
        assert found is not None and len(found) == 1 + number % 2
        print(number, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
