"""What operators do to a running deployment, and what a key holder sees of their own use."""
