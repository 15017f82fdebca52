"""Other ways to serve the same simulated engine, to be measured beside Pointsman."""
