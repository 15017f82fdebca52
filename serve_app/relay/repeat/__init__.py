"""A stream that broke off, asked for anew and shown from where its client has it."""
