"""One file for each input format."""
