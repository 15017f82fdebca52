"""The environment of an activated checkout, with a directory of the run's own."""

import os
import tempfile

# Short, whatever TMPDIR is.
_RUN = tempfile.TemporaryDirectory(prefix="pm-", dir="/tmp")

PRIVATE_RAY = {
    "PATH": "/usr/bin:/bin",
    "POINTSMAN_RUN": _RUN.name,
    # What a deployment of this user has left, such as which fleet it served, is another's.
    "POINTSMAN_STATE": f"{_RUN.name}/state",
    "RAY_TMPDIR": _RUN.name,
    "RAY_AUTH_MODE": "token",
    # Nobody's own token is looked at.
    "RAY_AUTH_TOKEN": "of-the-tests",
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
}
# Ray reads these once, at import: before any test module does.
os.environ.update({k: v for k, v in PRIVATE_RAY.items() if k != "PATH"})
