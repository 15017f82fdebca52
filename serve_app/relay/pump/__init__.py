"""One token of a stream in one call: compiled where that was built, else in Python."""
