"""One file for each architecture; nothing else names it."""
