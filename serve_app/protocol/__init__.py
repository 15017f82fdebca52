"""What is said over HTTP: errors, events, encodings. No I/O."""
