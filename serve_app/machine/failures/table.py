"""Every known way for a start to fail, in the order in which a log is asked for them.

A log holds the cause and what followed from it: what says most about the cause comes
first, what is only ever a consequence last. The texts are those of the pinned releases
(vLLM 0.29.0, Ray 2.60.0, torch 2.13, transformers, huggingface_hub 2.4).
"""

from __future__ import annotations

from serve_app.machine.failures.after import AFTER
from serve_app.machine.failures.fingerprint import Fingerprint
from serve_app.machine.failures.fleet_file import FLEET_FILE
from serve_app.machine.failures.hardware import HARDWARE
from serve_app.machine.failures.hub import HUB
from serve_app.machine.failures.memory import MEMORY

FINGERPRINTS: tuple[Fingerprint, ...] = (*HARDWARE, *MEMORY, *FLEET_FILE, *HUB, *AFTER)
