"""The table: what is recorded, what is alerted of, what is shown. Nothing else names a metric."""

from serve_app.observe.table.alerts import ALERTS
from serve_app.observe.table.dashboards import DASHBOARDS
from serve_app.observe.table.recording import recording_rules
from serve_app.observe.table.rows import Alert, Dashboard, Needs, Panel, Query, Recording

__all__ = [
    "ALERTS",
    "DASHBOARDS",
    "Alert",
    "Dashboard",
    "Needs",
    "Panel",
    "Query",
    "Recording",
    "recording_rules",
]
