"""A whole fleet in virtual time: the classes of `router/` before simulated engines."""

from fleet.simulation.report import FleetReport
from fleet.simulation.run import simulate
from fleet.simulation.spec import FleetSpec, LaneSpec, TenantSpec

__all__ = ["FleetReport", "FleetSpec", "LaneSpec", "TenantSpec", "simulate"]
