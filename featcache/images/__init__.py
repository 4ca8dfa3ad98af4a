"""Encoded bytes to pixels, and views of them."""
