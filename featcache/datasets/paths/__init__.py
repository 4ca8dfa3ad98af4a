"""Paths that almost fit: what a table or a list calls an image, and what the image is called on this disk."""
