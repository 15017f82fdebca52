"""The Ray Serve graph: the only package that awaits, reads clocks or imports Ray."""
