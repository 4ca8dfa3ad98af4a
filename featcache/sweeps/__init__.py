"""Many heads, one honest choice."""
