"""Places while a body comes, and slots of a lane."""
