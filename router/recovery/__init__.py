"""What may be done after a fault."""
