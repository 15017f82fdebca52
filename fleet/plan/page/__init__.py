"""A page with sliders: one file, no server."""
