"""`pointsman classifier calibrate`: thresholds of one's own traffic, and what they bring."""
