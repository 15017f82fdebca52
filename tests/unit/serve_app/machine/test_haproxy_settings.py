"""What `scripts/environment` says of slow clients is in the HAProxy file that Ray writes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.security

ROOT = Path(__file__).parents[4]
WRITE = """
import sys
from ray.serve._private.haproxy import HAProxyApi, HAProxyConfig, get_haproxy_binary
api = HAProxyApi(cfg=HAProxyConfig(), config_file_path=sys.argv[1])
api._generate_config_file_internal()
print(get_haproxy_binary())
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """HAProxy's file under the settings, and the HAProxy that reads it."""
    root = tmp_path_factory.mktemp("haproxy")
    path = root / "haproxy.cfg"
    command = f'. {ROOT}/scripts/environment && exec "$0" -c "$1" "$2"'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, WRITE, str(path)],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "POINTSMAN_RUN": str(root / "run")},
    )
    return path, done.stdout.split()[-1]


@pytest.mark.parametrize("line", ["timeout http-request 15s", "timeout client 120s"])
def test_headers_and_bodies_have_their_time(written, line):
    """In the defaults: they hold for every frontend after them."""
    text = written[0].read_text()
    defaults = text[text.index("\ndefaults\n") : text.index("\nfrontend ")]

    assert f"    {line}\n" in defaults
    assert "    balance leastconn\n" in defaults


def test_haproxy_takes_the_file(written):
    path, haproxy = written
    done = subprocess.run(
        [haproxy, "-c", "-f", path], capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 0, done.stderr
