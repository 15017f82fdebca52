"""Named, immutable sets of tools: files to versions, and which version a request gets."""
