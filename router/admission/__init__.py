"""Which request goes next when a lane is full."""
