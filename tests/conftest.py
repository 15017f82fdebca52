"""How many examples hypothesis looks at, on machines of any speed: no deadline for each."""

import signal

from hypothesis import HealthCheck, settings

from tests.examples import USUAL

PROFILES = {"quick": USUAL // 5, "pointsman": USUAL, "soak": 200 * USUAL}

for name, count in PROFILES.items():
    settings.register_profile(
        name, max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
settings.load_profile("pointsman")

# A run in the background of a script ignores Ctrl-C, and so would what the tests send it to.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
