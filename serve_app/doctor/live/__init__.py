"""What a running deployment does, asked over HTTP and read from its log."""
