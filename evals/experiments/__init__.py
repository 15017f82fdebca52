"""What an experiment has shown: tests that may be looked at at any time, and how long they take."""
