"""Building the compiled twin: what setup.py and scripts/install ask for.

It imports nothing of the product: it runs before that is installed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

SOURCE = Path(__file__).with_name("_native.pyx")
MODULE = "serve_app.relay.pump._native"


def digest() -> str:
    """Of the text that is compiled; what was built says of which it was. Raises OSError."""
    return hashlib.blake2b(SOURCE.read_bytes(), digest_size=16).hexdigest()
