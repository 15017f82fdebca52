"""A text as /metrics has it once everything has happened, on a fleet with cards.

Made of the families that the code exports, so that a query for a name or a label that is gone
finds nothing. Counters and histograms grow with every scrape.
"""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product

from serve_app.observe.exported import engine_families, exported

VALUES = {
    "lane": ("chat", "quality", "agent"),
    "tier": ("paid", "free"),
    "reason": ("default", "tools", "validation_failed"),
    "code": ("200", "shed", "no_replica"),
    "outcome": ("bad", "good", "failed"),
    "kind": ("prompt", "cached", "completion"),
    "objective": ("ttft", "failures"),
    "window": ("1h",),
    "card": ("0",),
}
GAUGES = {
    "pointsman_card_temperature_celsius": 71,
    "pointsman_card_power_watts": 348,
    "pointsman_card_power_limit_watts": 450,
    "pointsman_card_memory_used_bytes": 22.0e9,
    "pointsman_card_memory_total_bytes": 25.757e9,
}
BUCKETS = ("0.01", "1.0", "+Inf")


def of_a_replica(family):
    """Whether it comes from a lane's replica, with its labels."""
    ours = ("pointsman_card_", "pointsman_engine_", "pointsman_prompt_tokens")
    return family.name.startswith(("vllm:", *ours))


def samples(family, growth):
    """Lines of one family."""
    where = ("lane", "replica") if of_a_replica(family) else ("ingress",)
    names = dict.fromkeys((*where, *family.labels))
    for values in product(*(VALUES.get(name, ("one",)) for name in names)):
        labels = ",".join(f'{k}="{v}"' for k, v in zip(names, values, strict=True))
        if family.kind == "gauge":
            yield f"{family.name}{{{labels}}} {GAUGES.get(family.name, 0.5)}"
        elif family.kind == "counter":
            yield f"{family.name}_total{{{labels}}} {3 * growth}"
        else:
            for number, bound in enumerate(BUCKETS, 1):
                yield f'{family.name}_bucket{{{labels},le="{bound}"}} {number * growth}'
            yield f"{family.name}_sum{{{labels}}} {growth / 2}"
            yield f"{family.name}_count{{{labels}}} {len(BUCKETS) * growth}"


def text(growth):
    """The whole of it at one scrape."""
    families = [*exported().values(), *engine_families().values()]
    lines = []
    for family in families:
        ending = "_total" if family.kind == "counter" else ""
        lines += [f"# TYPE {family.name}{ending} {family.kind}", *samples(family, growth)]
    return "\n".join(lines) + "\n"


@contextmanager
def served():
    """Serve it on loopback; yields host and port."""
    scrapes = iter(range(1, 1_000_000))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = text(next(scrapes)).encode()
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
