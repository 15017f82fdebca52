"""The history of a deployment's signals, and what it says about the fleet."""
