"""The cards that a fleet may be built of: memory, speed, power, price."""
