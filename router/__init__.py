"""Pure routing decisions: no Ray, no I/O, no clock, no randomness of its own.

Every function takes what it needs (`now` in seconds on any monotonic clock) and
returns a frozen record. Adapters in `serve_app` act on the records.
"""
