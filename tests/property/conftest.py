"""Property tests on machines of any speed: no per-example deadline."""

from hypothesis import HealthCheck, settings

settings.register_profile("pointsman", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pointsman")
