"""Which requests are in which arm of an experiment, and which arms have to stop."""
