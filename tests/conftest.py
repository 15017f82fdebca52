"""How many examples hypothesis looks at, on machines of any speed: no deadline for each."""

from hypothesis import HealthCheck, settings

SOAK = 200
"""Times as many examples with `--hypothesis-profile=soak`, where a test does not say how many."""

settings.register_profile("pointsman", deadline=None, suppress_health_check=[HealthCheck.too_slow])
usual = settings.get_profile("pointsman")
settings.register_profile("soak", usual, max_examples=SOAK * usual.max_examples)
settings.load_profile("pointsman")
