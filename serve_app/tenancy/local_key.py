"""The local admin key: who may read this user's files may operate the deployment.

It follows from the deployment's secret, which every ingress replica has, on whatever node:
none of them reads the file. It has the form of every other key, so that whatever looks
for keys finds it.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from serve_app.config.private_files import write_private
from serve_app.config.settings import state_dir
from serve_app.tenancy.auth import PREFIX

_PURPOSE = b"local admin key"
"""No cache group is called so: theirs begin with `group:` or `tenant:`."""


def local_admin_key(secret: str) -> str:
    digest = hmac.new(secret.encode(), _PURPOSE, hashlib.sha256).hexdigest()
    return f"{PREFIX}{digest[:12]}-{digest[12:]}"


def admin_key_path() -> Path:
    """Return where commands of this user find the key; it may not exist yet."""
    return state_dir() / "admin-key"


def keep_admin_key(secret: str) -> None:
    """Write the key to that file (mode 0600)."""
    write_private(admin_key_path(), local_admin_key(secret)).replace(admin_key_path())


def kept_admin_key() -> str | None:
    """Read the key from that file; None if there is none that this user may read."""
    try:
        return admin_key_path().read_text().strip() or None
    except OSError:
        return None
