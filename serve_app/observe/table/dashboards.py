"""The dashboards, in the order of the menu."""

from serve_app.observe.table.cache_panels import CACHE
from serve_app.observe.table.fleet_panels import FLEET
from serve_app.observe.table.lane_panels import LANE
from serve_app.observe.table.routing_panels import ROUTING
from serve_app.observe.table.slo_panels import SLO
from serve_app.observe.table.tenant_panels import TENANT

DASHBOARDS = (FLEET, LANE, TENANT, ROUTING, CACHE, SLO)
