"""Replicas of a lane, put in order for one request."""
