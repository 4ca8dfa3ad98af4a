"""The version, for every package that records it."""

__version__ = "0.1.0"
