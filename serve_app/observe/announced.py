"""Families that panels and alerts use and no object of this version exports yet.

A test refuses a row whose family is exported: it is then to be deleted here, and the panels
that ask for it need traffic instead of an event.
"""

from __future__ import annotations

from typing import cast

from serve_app.observe.exported import Family, Kind

_CARD = ("card",)

ANNOUNCED = tuple(
    Family(f"pointsman_{name}", cast(Kind, kind), means, labels, buckets)
    for name, kind, means, labels, buckets in ()
)
