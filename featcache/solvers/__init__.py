"""Fits K heads to features in one program."""
