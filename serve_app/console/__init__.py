"""The operators' page: its files, and the feed of figures that it shows."""
