"""Who goes next when a lane is full."""
