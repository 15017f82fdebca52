"""What a weak lane knows of its own answer, and whether that says who should answer."""
