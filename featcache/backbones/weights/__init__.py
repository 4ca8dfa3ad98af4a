"""Weight files: found, verified, read, and mapped to the names of a network."""
