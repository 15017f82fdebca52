"""One request, in order."""
