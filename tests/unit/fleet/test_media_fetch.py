"""What a lane's settings keep vLLM's own media code from, with a listener that counts."""

import base64
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from serve_app.config.engine_walls import MEDIA_ENV
from tests.unit.fleet.fetch_check import PNG

pytestmark = pytest.mark.security

ROOT = Path(__file__).parents[3]


class Pictures(BaseHTTPRequestHandler):
    """A service inside the network that answers whoever asks."""

    asked: ClassVar[list[str]] = []

    def do_GET(self):
        self.asked.append(f"{self.headers['host'].partition(':')[0]} {self.path}")
        is_image = self.path.endswith("/image")
        self.send_response(200 if is_image else 302)
        self.send_header("location", "/image")
        self.end_headers()
        if is_image:
            self.wfile.write(base64.b64decode(PNG.partition(",")[2]))

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture(scope="module")
def results():
    """What became of each case, from one process: importing vLLM is most of the time."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pictures)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    inherited = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "fetch_check.py"), str(server.server_port)],
        env=inherited
        | MEDIA_ENV
        | {
            "PYTHONPATH": str(ROOT),
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_MEDIA_FETCH_MAX_RETRIES": "1",
        },
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    server.shutdown()
    server.server_close()
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_engine_uses_our_connector(results):
    assert results["connector"] == "pointsman"


def test_what_comes_with_a_request_is_read(results):
    assert results["data"] == "fetched"


@pytest.mark.parametrize("case", ["no hosts", "none", "another host"])
def test_what_is_not_listed_is_not_fetched(results, case):
    assert "allowed domains" in results[case]


def test_no_file_is_read(results):
    assert "RuntimeError" in results["file"]


@pytest.mark.parametrize("case", ["127.0.0.1", "::1", "10.0.0.1", "::ffff:127.0.0.1", "proxy"])
def test_a_listed_name_of_a_private_address_is_not_fetched(results, case):
    assert "no public address" in results[case]


def test_a_listed_host_is_fetched_and_its_redirect_is_not_followed(results):
    """The listener heard of nothing else in all cases."""
    assert results["public"] == "fetched"
    assert results["redirect"] != "fetched"
    assert Pictures.asked == ["media.example.com /image", "media.example.com /"]


def test_there_is_no_other_way_to_fetch(results):
    assert "asynchronously" in results["sync"]
