"""What a failed start says in its log, as a cause with the line that mends it."""
