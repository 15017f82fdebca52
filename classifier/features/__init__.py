"""What the classifier reads of a text."""
